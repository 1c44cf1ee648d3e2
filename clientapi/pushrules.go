package clientapi

import (
	"context"
	"encoding/json"
	"errors"

	"allmende/clientapi/api"
	"allmende/clientapi/store"
	"allmende/internal/auth"
	"allmende/internal/httpx"
	"allmende/internal/matrix"
	"allmende/internal/pushrules"
)

func (s *Service) pushRuleRoutes() []httpx.Route {
	const (
		all     = "/_matrix/client/v3/pushrules"
		rule    = all + "/global/{kind}/{ruleId}"
		enabled = rule + "/enabled"
		actions = rule + "/actions"
	)
	return []httpx.Route{
		{Method: "GET", Path: all, Auth: httpx.Required, Rate: httpx.RateRead, Handler: httpx.Handle(s.pushRules)},
		{Method: "GET", Path: all + "/", Auth: httpx.Required, Rate: httpx.RateRead, Handler: httpx.Handle(s.pushRules)},
		{Method: "GET", Path: all + "/global", Auth: httpx.Required, Rate: httpx.RateRead, Handler: httpx.Handle(s.globalPushRules)},
		{Method: "GET", Path: all + "/global/", Auth: httpx.Required, Rate: httpx.RateRead, Handler: httpx.Handle(s.globalPushRules)},
		{Method: "GET", Path: rule, Auth: httpx.Required, Rate: httpx.RateRead, Handler: httpx.Handle(s.pushRule)},
		{Method: "PUT", Path: rule, Auth: httpx.Required, Rate: httpx.RateWrite, Handler: httpx.Handle(s.putPushRule)},
		{Method: "DELETE", Path: rule, Auth: httpx.Required, Rate: httpx.RateWrite, Handler: httpx.Handle(s.deletePushRule)},
		{Method: "GET", Path: enabled, Auth: httpx.Required, Rate: httpx.RateRead, Handler: httpx.Handle(s.pushRuleEnabled)},
		{Method: "PUT", Path: enabled, Auth: httpx.Required, Rate: httpx.RateWrite, Handler: httpx.Handle(s.putPushRuleEnabled)},
		{Method: "GET", Path: actions, Auth: httpx.Required, Rate: httpx.RateRead, Handler: httpx.Handle(s.pushRuleActions)},
		{Method: "PUT", Path: actions, Auth: httpx.Required, Rate: httpx.RateWrite, Handler: httpx.Handle(s.putPushRuleActions)},
	}
}

// ruleset is the whole ruleset of the session's user.
func (s *Service) ruleset(ctx context.Context, sess auth.Session) (pushrules.Ruleset, error) {
	custom, err := customRules(ctx, s.store.Queries, sess.Account)
	if err != nil {
		return pushrules.Ruleset{}, err
	}
	return custom.Ruleset(sess.UserID), nil
}

func customRules(ctx context.Context, q *store.Queries, account int64) (*pushrules.Custom, error) {
	stored, err := q.FindAccountData(ctx, account, "", typePushRules)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	return pushrules.ParseCustom(stored)
}

// changeRules applies a change to what the user has changed, and stores it at a position of its own, so that all clients
// see the new ruleset.
func (s *Service) changeRules(ctx context.Context, sess auth.Session, change func(*pushrules.Custom) error) error {
	return s.changeUserData(ctx, sess.Account, func(q *store.Queries) (int64, error) {
		custom, err := customRules(ctx, q, sess.Account)
		if err != nil {
			return 0, err
		}
		if err := change(custom); err != nil {
			return 0, err
		}
		content, err := custom.Encode()
		if err != nil {
			return 0, err
		}
		return q.SetAccountData(ctx, sess.Account, store.AccountData{Type: typePushRules, Content: content})
	})
}

// spec: c-s §GET /pushrules/
func (s *Service) pushRules(ctx context.Context, sess auth.Session, _ struct{}) (json.RawMessage, error) {
	set, err := s.ruleset(ctx, sess)
	if err != nil {
		return nil, err
	}
	return pushRulesContent(set)
}

// spec: c-s §GET /pushrules/global/
func (s *Service) globalPushRules(ctx context.Context, sess auth.Session, _ struct{}) (pushrules.Ruleset, error) {
	return s.ruleset(ctx, sess)
}

type ruleIn struct {
	Kind   string `path:"kind"`
	RuleID string `path:"ruleId"`
}

func (s *Service) findRule(ctx context.Context, sess auth.Session, kind, id string) (pushrules.Rule, error) {
	k, err := pushrules.ParseKind(kind)
	if err != nil {
		return pushrules.Rule{}, err
	}
	set, err := s.ruleset(ctx, sess)
	if err != nil {
		return pushrules.Rule{}, err
	}
	return set.Find(k, id)
}

// spec: c-s §GET /pushrules/global/{kind}/{ruleId}
func (s *Service) pushRule(ctx context.Context, sess auth.Session, in ruleIn) (pushrules.Rule, error) {
	return s.findRule(ctx, sess, in.Kind, in.RuleID)
}

type putRuleIn struct {
	Kind   string `path:"kind"`
	RuleID string `path:"ruleId"`
	Before string `query:"before"`
	After  string `query:"after"`
	Body   struct {
		Actions    []json.RawMessage `json:"actions"`
		Conditions []json.RawMessage `json:"conditions"`
		Pattern    *string           `json:"pattern"`
	} `body:""`
}

// spec: c-s §PUT /pushrules/global/{kind}/{ruleId}
func (s *Service) putPushRule(ctx context.Context, sess auth.Session, in putRuleIn) (empty, error) {
	k, err := pushrules.ParseKind(in.Kind)
	if err != nil {
		return empty{}, err
	}
	rule := pushrules.Rule{ID: in.RuleID, Actions: in.Body.Actions, Conditions: in.Body.Conditions, Pattern: in.Body.Pattern}
	return empty{}, s.changeRules(ctx, sess, func(c *pushrules.Custom) error { return c.Put(k, rule, in.Before, in.After) })
}

// spec: c-s §DELETE /pushrules/global/{kind}/{ruleId}
func (s *Service) deletePushRule(ctx context.Context, sess auth.Session, in ruleIn) (empty, error) {
	k, err := pushrules.ParseKind(in.Kind)
	if err != nil {
		return empty{}, err
	}
	return empty{}, s.changeRules(ctx, sess, func(c *pushrules.Custom) error { return c.Delete(k, in.RuleID) })
}

type ruleEnabled struct {
	Enabled bool `json:"enabled"`
}

// spec: c-s §GET /pushrules/global/{kind}/{ruleId}/enabled
func (s *Service) pushRuleEnabled(ctx context.Context, sess auth.Session, in ruleIn) (ruleEnabled, error) {
	rule, err := s.findRule(ctx, sess, in.Kind, in.RuleID)
	return ruleEnabled{rule.Enabled}, err
}

type putRuleEnabledIn struct {
	Kind   string `path:"kind"`
	RuleID string `path:"ruleId"`
	Body   struct {
		Enabled *bool `json:"enabled"`
	} `body:""`
}

// spec: c-s §PUT /pushrules/global/{kind}/{ruleId}/enabled
func (s *Service) putPushRuleEnabled(ctx context.Context, sess auth.Session, in putRuleEnabledIn) (empty, error) {
	k, err := pushrules.ParseKind(in.Kind)
	if err != nil {
		return empty{}, err
	}
	if in.Body.Enabled == nil {
		return empty{}, matrix.MissingParam("Missing enabled.")
	}
	return empty{}, s.changeRules(ctx, sess, func(c *pushrules.Custom) error { return c.SetEnabled(k, in.RuleID, *in.Body.Enabled) })
}

type ruleActions struct {
	Actions []json.RawMessage `json:"actions"`
}

// spec: c-s §GET /pushrules/global/{kind}/{ruleId}/actions
func (s *Service) pushRuleActions(ctx context.Context, sess auth.Session, in ruleIn) (ruleActions, error) {
	rule, err := s.findRule(ctx, sess, in.Kind, in.RuleID)
	return ruleActions{rule.Actions}, err
}

type putRuleActionsIn struct {
	Kind   string      `path:"kind"`
	RuleID string      `path:"ruleId"`
	Body   ruleActions `body:""`
}

// spec: c-s §PUT /pushrules/global/{kind}/{ruleId}/actions
func (s *Service) putPushRuleActions(ctx context.Context, sess auth.Session, in putRuleActionsIn) (empty, error) {
	k, err := pushrules.ParseKind(in.Kind)
	if err != nil {
		return empty{}, err
	}
	return empty{}, s.changeRules(ctx, sess, func(c *pushrules.Custom) error { return c.SetActions(k, in.RuleID, in.Body.Actions) })
}

// busPushRules answers the changes of many users.
func (s *Service) busPushRules(ctx context.Context, req api.PushRulesReq) (api.PushRulesResp, error) {
	if len(req.UserIDs) > api.MaxPushRulesUsers {
		return api.PushRulesResp{}, matrix.InvalidParam("Too many users.")
	}
	list, err := s.store.ListAccountDataOf(ctx, s.localparts(req.UserIDs), typePushRules)
	if err != nil {
		return api.PushRulesResp{}, err
	}
	var resp api.PushRulesResp
	size := 0
	for _, o := range list {
		user := s.userID(o.Localpart)
		size += len(o.Content) + len(user) + itemOverhead
		if size > pageBytes && len(resp.Users) > 0 {
			resp.Rest = append(resp.Rest, user)
			continue
		}
		resp.Users = append(resp.Users, api.UserPushRules{UserID: user, AccountNID: o.AccountNID, Custom: o.Content})
	}
	return resp, nil
}

// localparts of those users that belong to this server.
func (s *Service) localparts(users []matrix.UserID) []string {
	var out []string
	for _, u := range users {
		if s.isLocal(u) {
			out = append(out, u.Localpart())
		}
	}
	return out
}

// isLocal reports whether a user id belongs to this server.
func (s *Service) isLocal(u matrix.UserID) bool { return string(u.Server()) == s.Config.ServerName }
