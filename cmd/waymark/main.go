// The waymark command shows what Waymark does, on a node or in a cluster.
package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/waymark-bgp/waymark/internal/version"
)

func main() {
	root := &cobra.Command{
		Use:           "waymark",
		Short:         "Look inside Waymark on this machine; run it as root",
		Version:       version.String(),
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetVersionTemplate("waymark {{.Version}}\n")
	root.AddCommand(statusCommand())
	if err := root.Execute(); err != nil {
		fmt.Fprintln(os.Stderr, "waymark:", err)
		os.Exit(1)
	}
}
