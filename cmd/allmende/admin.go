package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"allmende/clientapi/api"
	"allmende/internal/matrix"
	"allmende/internal/obs"
	"allmende/internal/run"
)

// adminTime bounds one admin command, a start of the private database included.
const adminTime = 2 * time.Minute

var adminCommands = []command{
	{"create-user", "NAME [--admin] [--password-file FILE]", "make an account; without a file the password is asked for", createUser},
	{"set-password", "USER [--keep-devices] [--password-file FILE]", "replace a password and log all devices out", setPassword},
	{"users", "", "list the accounts", listUsers},
	{"lock", "USER", "lock an account: its devices stay known but are refused", lockUser},
	{"unlock", "USER", "unlock an account", unlockUser},
	{"token create", "[--uses N] [--valid DAYS] [--token TEXT]", "make a token that lets people register", createToken},
	{"token list", "", "list the registration tokens", listTokens},
	{"token revoke", "TOKEN|ID", "end a registration token", revokeToken},
}

func adminUsage(w io.Writer) {
	fmt.Fprint(w, "Admin commands work while the server runs and while it does not.\n\n")
	printCommands(w, "allmende admin", adminCommands)
	fmt.Fprint(w, "\nUSER is a name as in anna, or a whole id as in @anna:example.org.\n")
}

// admin finds the command; its --config may stand before it as well as behind.
func admin(ctx context.Context, e *env, args []string) int {
	if len(args) > 1 && (args[0] == "--config" || args[0] == "-config") {
		args = append(args[2:], args[:2]...)
	} else if len(args) > 0 && strings.HasPrefix(args[0], "--config=") {
		args = append(args[1:], args[0])
	}
	if len(args) > 1 && args[0] == "token" {
		args = append([]string{"token " + args[1]}, args[2:]...)
	}
	return dispatch(ctx, e, adminCommands, args, adminUsage)
}

// session is one admin command at work.
type session struct {
	ctx    context.Context
	server string
	way    *run.Admin
}

// task is what is particular to one admin command.
type task struct {
	flags *flag.FlagSet
	want  []string     // arguments, as they are called in the usage
	ask   func() error // asks what is still to be known, before the server is spoken to; may be nil
	do    func(*session, []string) error
}

// carryOut parses flags and arguments, asks, opens the way to the server and does the work.
func carryOut(ctx context.Context, e *env, args []string, t task) int {
	path := configFlag(t.flags)
	rest, code, ok := parse(e, t.flags, args, t.want...)
	if !ok {
		return code
	}
	c, ok := load(e, *path)
	if !ok {
		return exitUsage
	}
	if t.ask != nil {
		if err := t.ask(); err != nil {
			return complain(e, err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, adminTime)
	defer cancel()
	log := obs.NewLogger(e.stderr, obs.LogOptions{Level: slog.LevelWarn, Text: true})
	way, err := run.OpenAdmin(ctx, c, log)
	if err != nil {
		return complain(e, err)
	}
	err = t.do(&session{ctx, c.ServerName, way}, rest)
	if err = errors.Join(err, way.Close()); err != nil {
		return complain(e, told(err))
	}
	return exitOK
}

// told is an error without the path it took, when the server answered in words of its own.
func told(err error) error {
	var m *matrix.Error
	if errors.As(err, &m) {
		return fmt.Errorf("%s (%s)", m.Msg, m.Code)
	}
	return err
}

// user makes a whole id of a name.
func (s *session) user(name string) matrix.UserID {
	if strings.HasPrefix(name, "@") {
		return matrix.UserID(name)
	}
	return matrix.UserID("@" + name + ":" + s.server)
}

func createUser(ctx context.Context, e *env, args []string) int {
	f := flags(e, "admin create-user", "NAME [--admin] [--password-file FILE]")
	isAdmin := f.Bool("admin", false, "the account may use the admin functions of clients")
	file := f.String("password-file", "", "`file` to read the password from, - for standard input")
	var password string
	ask := func() (err error) {
		password, err = readPassword(ctx, e, *file)
		return err
	}
	return carryOut(ctx, e, args, task{flags: f, want: []string{"NAME"}, ask: ask, do: func(s *session, rest []string) error {
		resp, err := run.AdminCall(s.ctx, s.way, api.AdminCreateUser, api.AdminCreateUserReq{
			Localpart: rest[0], Password: password, Admin: *isAdmin,
		})
		if err == nil {
			fmt.Fprintf(e.stdout, "%s can log in now\n", resp.UserID)
		}
		return err
	}})
}

func setPassword(ctx context.Context, e *env, args []string) int {
	f := flags(e, "admin set-password", "USER [--keep-devices] [--password-file FILE]")
	keep := f.Bool("keep-devices", false, "leave the account's devices logged in")
	file := f.String("password-file", "", "`file` to read the password from, - for standard input")
	var password string
	ask := func() (err error) {
		password, err = readPassword(ctx, e, *file)
		return err
	}
	return carryOut(ctx, e, args, task{flags: f, want: []string{"USER"}, ask: ask, do: func(s *session, rest []string) error {
		_, err := run.AdminCall(s.ctx, s.way, api.AdminSetPassword, api.AdminSetPasswordReq{
			UserID: s.user(rest[0]), Password: password, LogoutDevices: !*keep,
		})
		if err == nil {
			fmt.Fprintf(e.stdout, "%s has a new password\n", s.user(rest[0]))
		}
		return err
	}})
}

func lockUser(ctx context.Context, e *env, args []string) int {
	return setLocked(ctx, e, "lock", args, true)
}

func unlockUser(ctx context.Context, e *env, args []string) int {
	return setLocked(ctx, e, "unlock", args, false)
}

func setLocked(ctx context.Context, e *env, name string, args []string, locked bool) int {
	f := flags(e, "admin "+name, "USER")
	return carryOut(ctx, e, args, task{flags: f, want: []string{"USER"}, do: func(s *session, rest []string) error {
		_, err := run.AdminCall(s.ctx, s.way, api.AdminLockUser, api.AdminLockUserReq{UserID: s.user(rest[0]), Locked: locked})
		if err == nil {
			fmt.Fprintf(e.stdout, "%s is %sed\n", s.user(rest[0]), name)
		}
		return err
	}})
}

func listUsers(ctx context.Context, e *env, args []string) int {
	f := flags(e, "admin users", "")
	return carryOut(ctx, e, args, task{flags: f, do: func(s *session, _ []string) error {
		w := tabwriter.NewWriter(e.stdout, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "USER\tSTATE\tDEVICES\tCREATED\tLAST SEEN")
		for after := ""; ; {
			page, err := run.AdminCall(s.ctx, s.way, api.AdminListUsers, api.AdminListUsersReq{After: after})
			if err != nil {
				return err
			}
			for _, u := range page.Users {
				fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\n", u.UserID, state(u), u.Devices, u.Created, u.LastSeen)
				after = u.UserID.Localpart()
			}
			if !page.More {
				return w.Flush()
			}
		}
	}})
}

func state(u api.AdminUser) string {
	switch {
	case u.Deactivated:
		return "deactivated"
	case u.Locked:
		return "locked"
	case u.Admin:
		return "admin"
	}
	return "active"
}

func createToken(ctx context.Context, e *env, args []string) int {
	f := flags(e, "admin token create", "[--uses N] [--valid DAYS] [--token TEXT]")
	uses := f.Int("uses", 1, "how many accounts may be made with it; 0: any number")
	valid := f.Int("valid", 14, "for how many `days`; 0: for ever")
	text := f.String("token", "", "the token's `text`; empty: a random one")
	return carryOut(ctx, e, args, task{flags: f, do: func(s *session, _ []string) error {
		req := api.AdminCreateRegistrationTokenReq{Token: *text}
		if *uses > 0 {
			req.UsesAllowed = uses
		}
		if *valid > 0 {
			end := time.Now().AddDate(0, 0, *valid)
			req.ExpiresAt = &end
		}
		resp, err := run.AdminCall(s.ctx, s.way, api.AdminCreateRegistrationToken, req)
		if err == nil {
			fmt.Fprintln(e.stdout, resp.Token)
			fmt.Fprintln(e.stderr, "Pass it on now: only its hash is kept, it cannot be shown again.")
		}
		return err
	}})
}

func listTokens(ctx context.Context, e *env, args []string) int {
	f := flags(e, "admin token list", "")
	return carryOut(ctx, e, args, task{flags: f, do: func(s *session, _ []string) error {
		w := tabwriter.NewWriter(e.stdout, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "ID\tUSED\tPENDING\tALLOWED\tVALID UNTIL")
		for after := int64(0); ; {
			page, err := run.AdminCall(s.ctx, s.way, api.AdminListRegistrationTokens, api.AdminListRegistrationTokensReq{After: after})
			if err != nil {
				return err
			}
			for _, t := range page.Tokens {
				allowed, until := "any", "for ever"
				if t.UsesAllowed != nil {
					allowed = fmt.Sprint(*t.UsesAllowed)
				}
				if t.ExpiresAt != nil {
					until = t.ExpiresAt.Local().Format("2006-01-02 15:04")
				}
				fmt.Fprintf(w, "%d\t%d\t%d\t%s\t%s\n", t.ID, t.Completed, t.Pending, allowed, until)
				after = t.ID
			}
			if !page.More {
				return w.Flush()
			}
		}
	}})
}

func revokeToken(ctx context.Context, e *env, args []string) int {
	f := flags(e, "admin token revoke", "TOKEN|ID")
	return carryOut(ctx, e, args, task{flags: f, want: []string{"TOKEN|ID"}, do: func(s *session, rest []string) error {
		req := api.AdminRevokeRegistrationTokenReq{Token: rest[0]}
		_, err := run.AdminCall(s.ctx, s.way, api.AdminRevokeRegistrationToken, req)
		if id, notID := strconv.ParseInt(rest[0], 10, 64); errors.Is(err, matrix.NotFound("")) && notID == nil {
			_, err = run.AdminCall(s.ctx, s.way, api.AdminRevokeRegistrationToken, api.AdminRevokeRegistrationTokenReq{ID: id})
		}
		if err == nil {
			fmt.Fprintln(e.stdout, "The token is no longer valid")
		}
		return err
	}})
}
