package control

import "github.com/waymark-bgp/waymark/bfd"

// States returns the sessions of the last report, the run of waymark-bfd that they are from, and whether it is there now.
func (c *Client) States() (sessions []bfd.Status, instance string, connected bool) {
	report, connected := c.Report()
	return report.Sessions, report.Instance, connected
}
