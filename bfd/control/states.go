package control

import "github.com/waymark-bgp/waymark/bfd"

// States returns the sessions of the last report, the run of waymark-bfd that they are from, and whether it is there now.
func (c *Client) States() (states bfd.Report, instance string, connected bool) {
	report, connected := c.Report()
	return report.Report, report.Instance, connected
}
