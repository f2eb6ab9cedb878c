// The waymark command shows what Waymark does, on a node or in a cluster. Called as kubectl-waymark it is a plugin of kubectl.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/waymark-bgp/waymark/internal/version"
)

// errFound ends a command with code 2 when all that there is to say has been printed.
var errFound = errors.New("found something")

func main() {
	// A cluster is read once, and answered about: half of the memory is worth a few milliseconds.
	debug.SetGCPercent(50)
	switch err := rootCommand(filepath.Base(os.Args[0])).Execute(); {
	case errors.Is(err, errFound):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(visible{os.Stderr}, "waymark:", err)
		os.Exit(1)
	}
}

// rootCommand is what the program does when it is called by a name.
func rootCommand(called string) *cobra.Command {
	plugin := strings.HasPrefix(called, "kubectl-waymark")
	root := &cobra.Command{
		Use:           "waymark",
		Short:         "Look inside Waymark: on this machine, in a cluster, in files",
		Version:       version.String(),
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	if plugin {
		root.Annotations = map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl waymark"}
	}
	root.SetVersionTemplate("waymark {{.Version}}\n")
	root.AddCommand(statusCommand(plugin), peersCommand(), routesCommand(), explainCommand(), validateCommand(), planCommand(), checkCommand(), routersCommand(), cidrCommand())
	return root
}
