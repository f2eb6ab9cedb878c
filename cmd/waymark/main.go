// The waymark command shows what Waymark does, on a node or in a cluster.
package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
)

func main() {
	root := &cobra.Command{
		Use:           "waymark",
		Short:         "Look inside Waymark",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(statusCommand())
	if err := root.Execute(); err != nil {
		fmt.Fprintln(os.Stderr, "waymark:", err)
		os.Exit(1)
	}
}
