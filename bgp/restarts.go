package bgp

import "reflect"

// Restarts names the settings, as the objects have them, whose change from c to next ends all sessions; none: they stay.
func (c *Config) Restarts(next *Config) []string {
	return changed([]setting{
		{"asn", c.ASN, next.ASN},
		{"router ID", c.RouterID, next.RouterID},
		{"listenPort", c.ListenPort, next.ListenPort},
		{"gracefulRestart", c.GracefulRestart.Offered(), next.GracefulRestart.Offered()},
	})
}

// Offered is what of graceful restart a session is made of.
func (r GracefulRestart) Offered() GracefulRestart {
	r.Restarting = false
	return r
}

// Restarts names the settings, as the objects have them, whose change from p to next ends the session; none: it stays.
func (p *Peer) Restarts(next *Peer) []string {
	return changed([]setting{
		{"address", p.Address, next.Address},
		{"asn", p.ASN, next.ASN},
		{"port", p.Port, next.Port},
		{"passwordSecret", p.Password, next.Password},
		{"multihop", p.MultihopTTL, next.MultihopTTL},
		{"ttlSecurity", p.TTLSecurity, next.TTLSecurity},
		{"timers", p.Timers, next.Timers},
		{"families", p.Families, next.Families},
		{"allowOwnAS", p.AllowOwnAS, next.AllowOwnAS},
		{"passive", p.Passive, next.Passive},
	})
}

// Adapts names the settings whose change from p to next takes effect under the session.
func (p *Peer) Adapts(next *Peer) []string {
	return changed([]setting{
		{"name", p.Name, next.Name},
		{"import", p.Import, next.Import},
		{"export", p.Export, next.Export},
		{"maxPrefixes", p.MaxPrefixes, next.MaxPrefixes},
		{"attributes", p.Attributes, next.Attributes},
	})
}

type setting struct {
	name         string
	before, next any
}

func changed(settings []setting) []string {
	var names []string
	for _, s := range settings {
		if !reflect.DeepEqual(s.before, s.next) {
			names = append(names, s.name)
		}
	}
	return names
}
