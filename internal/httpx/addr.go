package httpx

import (
	"net/http"
	"net/netip"
	"strings"
)

// proxies are the reverse proxies that are believed.
type proxies []netip.Prefix

func (p proxies) trusts(a netip.Addr) bool {
	for _, prefix := range p {
		if prefix.Contains(a) {
			return true
		}
	}
	return false
}

// clientAddr is the address of the client. X-Forwarded-For counts only when the peer is a trusted
// proxy, and is read from the right, up to the first address that is not one: what stands further
// left was written by somebody unknown.
func (p proxies) clientAddr(r *http.Request) netip.Addr {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	client := peer.Addr().Unmap().WithZone("")
	if len(p) == 0 || !p.trusts(client) {
		return client
	}
	headers := r.Header["X-Forwarded-For"]
	for i := len(headers) - 1; i >= 0; i-- {
		list := headers[i]
		for list != "" {
			var last string
			if comma := strings.LastIndexByte(list, ','); comma >= 0 {
				list, last = list[:comma], list[comma+1:]
			} else {
				list, last = "", list
			}
			a, ok := parseForwarded(strings.TrimSpace(last))
			if !ok {
				return client // what comes next cannot be trusted any more
			}
			client = a
			if !p.trusts(client) {
				return client
			}
		}
	}
	return client
}

// parseForwarded takes an address, also with a port and brackets as some proxies write it.
func parseForwarded(s string) (netip.Addr, bool) {
	if a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]")); err == nil {
		return a.Unmap().WithZone(""), true
	}
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap().WithZone(""), true
	}
	return netip.Addr{}, false
}
