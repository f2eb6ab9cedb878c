package telemetry

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/waymark-bgp/waymark/agent"
)

// shownDestinations bounds the series of an egress address.
const shownDestinations = 5

var (
	egressOwner       = desc("egress_owner", "Always 1; the label gateway is the node that new connections with the address go to, as this node sees it. Empty: there is none.", "address", "vni", "gateway")
	egressOwns        = desc("egress_owns", "Whether this node is the owner of the egress address, of which it is a gateway: 1 or 0.", "address", "vni")
	egressUses        = desc("egress_uses", "Whether pods of this node use the egress address: 1 or 0.", "address", "vni")
	egressFailovers   = desc("egress_failovers_total", "Number of times that this node has gone to another gateway unplanned, since its boot.", "address", "vni")
	egressOutage      = desc("egress_outage_seconds_total", "For how long new connections were lost in failovers, as this node has measured, since its boot.", "address", "vni")
	gatewayAlive      = desc("egress_gateway_alive", "Whether the gateway answers this node by BFD, or is presumed to: 1 or 0.", "gateway")
	egressConnections = desc("egress_connections", "Number of connections that leave this node with the egress address.", "address")
	egressPorts       = desc("egress_ports", "Number of ports of the egress address that this node gives out for each destination.", "address")
	egressPortsUsed   = desc("egress_ports_used", "Number of ports of the egress address in use toward the busiest destination.", "address")
	egressBusiest     = desc("egress_destination_ports_used", "Number of ports of the egress address in use toward one of the busiest destinations.", "address", "protocol", "destination")
)

// egress are the metrics of the egress addresses of a node, and of their gateways.
func egress(s agent.Status, gauge func(*prometheus.Desc, float64, ...string), counter func(*prometheus.Desc, float64, ...string)) {
	alive := map[string]bool{}
	for _, e := range s.Egress {
		address, vni := "own", strconv.FormatUint(uint64(e.VNI), 10)
		if e.Address.IsValid() {
			address = e.Address.String()
		}
		gauge(egressOwner, 1, address, vni, e.Gateway)
		if e.Ports > 0 {
			gauge(egressOwns, truth(e.Owns), address, vni)
		}
		gauge(egressUses, truth(e.Uses), address, vni)
		counter(egressFailovers, float64(e.Failovers), address, vni)
		counter(egressOutage, e.Outage.Seconds(), address, vni)
		for _, g := range e.Gateways {
			alive[g.Node] = g.Health != agent.Dead
		}
	}
	for node, is := range alive {
		gauge(gatewayAlive, truth(is), node)
	}
	for _, u := range s.Ports {
		address, used := u.Address.String(), 0
		gauge(egressConnections, float64(u.Connections), address)
		gauge(egressPorts, float64(u.Ports), address)
		for i, d := range u.Busiest[:min(len(u.Busiest), shownDestinations)] {
			if i == 0 {
				used = d.Connections
			}
			gauge(egressBusiest, float64(d.Connections), address, d.ProtocolName(), d.Destination.String())
		}
		gauge(egressPortsUsed, float64(used), address)
	}
}
