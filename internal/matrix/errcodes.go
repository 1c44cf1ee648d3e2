package matrix

import "net/http"

// The constructors below pair each error code of the specification with its usual HTTP status.
// spec: c-s §Common error codes, §Other error codes

// Unknown: an error nobody foresaw; callers wrap the cause.
func Unknown(msg string) *Error {
	return newError(http.StatusInternalServerError, "M_UNKNOWN", msg)
}

// Timeout: a part of the server did not answer in time.
func Timeout(msg string) *Error {
	return newError(http.StatusGatewayTimeout, "M_UNKNOWN", msg)
}

// Forbidden: the caller may not do this.
func Forbidden(msg string) *Error {
	return newError(http.StatusForbidden, "M_FORBIDDEN", msg)
}

// NotFound: no such thing, or none the caller may know of.
func NotFound(msg string) *Error {
	return newError(http.StatusNotFound, "M_NOT_FOUND", msg)
}

// Unrecognized: the server does not know this path; see WithStatus for a wrong method (405).
func Unrecognized(msg string) *Error {
	return newError(http.StatusNotFound, "M_UNRECOGNIZED", msg)
}

// MissingParam: a required parameter was not sent.
func MissingParam(msg string) *Error {
	return newError(http.StatusBadRequest, "M_MISSING_PARAM", msg)
}

// InvalidParam: a parameter has a value that is not allowed.
func InvalidParam(msg string) *Error {
	return newError(http.StatusBadRequest, "M_INVALID_PARAM", msg)
}

// BadJSON: JSON of the wrong shape: a missing member, a wrong type, a number out of range.
func BadJSON(msg string) *Error {
	return newError(http.StatusBadRequest, "M_BAD_JSON", msg)
}

// NotJSON: the body is not JSON.
func NotJSON(msg string) *Error {
	return newError(http.StatusBadRequest, "M_NOT_JSON", msg)
}

// TooLarge: the request, or the event it makes, is too large.
func TooLarge(msg string) *Error {
	return newError(http.StatusRequestEntityTooLarge, "M_TOO_LARGE", msg)
}

// UserInUse: the user id is taken.
func UserInUse(msg string) *Error {
	return newError(http.StatusBadRequest, "M_USER_IN_USE", msg)
}

// InvalidUsername: not a valid user name.
func InvalidUsername(msg string) *Error {
	return newError(http.StatusBadRequest, "M_INVALID_USERNAME", msg)
}

// RoomInUse: the alias given for a new room is taken.
func RoomInUse(msg string) *Error {
	return newError(http.StatusBadRequest, "M_ROOM_IN_USE", msg)
}

// InvalidRoomState: the initial state of a new room is not valid.
func InvalidRoomState(msg string) *Error {
	return newError(http.StatusBadRequest, "M_INVALID_ROOM_STATE", msg)
}

// Exclusive: the name belongs to an application service.
func Exclusive(msg string) *Error {
	return newError(http.StatusBadRequest, "M_EXCLUSIVE", msg)
}

// GuestForbidden: the room or resource is not open to guests.
func GuestForbidden(msg string) *Error {
	return newError(http.StatusForbidden, "M_GUEST_ACCESS_FORBIDDEN", msg)
}

// UnsupportedRoomVersion: the server does not know the room version.
func UnsupportedRoomVersion(msg string) *Error {
	return newError(http.StatusBadRequest, "M_UNSUPPORTED_ROOM_VERSION", msg)
}

// BadAlias: an alias does not point to the room.
func BadAlias(msg string) *Error {
	return newError(http.StatusBadRequest, "M_BAD_ALIAS", msg)
}

// UserLocked: the account is locked; soft logout.
func UserLocked(msg string) *Error {
	return newError(http.StatusUnauthorized, "M_USER_LOCKED", msg).With("soft_logout", true)
}

// UserSuspended: the account is suspended and may not do this.
func UserSuspended(msg string) *Error {
	return newError(http.StatusForbidden, "M_USER_SUSPENDED", msg)
}

// UserDeactivated: the account has been deactivated.
func UserDeactivated(msg string) *Error {
	return newError(http.StatusForbidden, "M_USER_DEACTIVATED", msg)
}

// WeakPassword: the password does not meet the server's rules.
func WeakPassword(msg string) *Error {
	return newError(http.StatusBadRequest, "M_WEAK_PASSWORD", msg)
}

// Unauthorized: the request was not authenticated properly (federation signatures).
func Unauthorized(msg string) *Error {
	return newError(http.StatusUnauthorized, "M_UNAUTHORIZED", msg)
}

// UnableToGrantJoin: nobody on this server may invite to the restricted room.
func UnableToGrantJoin(msg string) *Error {
	return newError(http.StatusBadRequest, "M_UNABLE_TO_GRANT_JOIN", msg)
}

// WrongBackupVersion: not the current key backup; callers add current_version.
func WrongBackupVersion(msg string) *Error {
	return newError(http.StatusForbidden, "M_WRONG_ROOM_KEYS_VERSION", msg)
}

// ThreepidDenied: this third-party identifier may not be used here.
func ThreepidDenied(msg string) *Error {
	return newError(http.StatusForbidden, "M_THREEPID_DENIED", msg)
}

// ProfileTooLarge: the profile would be larger than 64 KiB.
func ProfileTooLarge(msg string) *Error {
	return newError(http.StatusBadRequest, "M_PROFILE_TOO_LARGE", msg)
}

// KeyTooLarge: the profile field's name is longer than 255 bytes.
func KeyTooLarge(msg string) *Error {
	return newError(http.StatusBadRequest, "M_KEY_TOO_LARGE", msg)
}

// DuplicateAnnotation: the user already reacted with this key.
func DuplicateAnnotation(msg string) *Error {
	return newError(http.StatusBadRequest, "M_DUPLICATE_ANNOTATION", msg)
}
