// The demo builds a virtual datacenter in network namespaces, runs Waymark in it and shows step by step what a network
// engineer wants to see. It is also every program of that datacenter that is not Waymark's: the route reflector, the
// registry, the pods. Run it with `make demo`, or with `make demo CLUSTER=1` on a real Kubernetes control plane.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"
)

const usage = `usage: demo run [-cluster] [-keep] | down      (make demo CLUSTER=1 KEEP=1, make demo-down)
       demo reflector SOCKET | registry | pod NAME NODE | door ADDRESS      (started by the demo)`

func main() {
	ends := []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP}
	if len(os.Args) > 1 && os.Args[1] == "run" {
		ends = append(ends, syscall.SIGPIPE) // make demo | head is a reason to clean up; a daemon's client that goes is none to end
	}
	ctx, stop := signal.NotifyContext(context.Background(), ends...)
	defer stop()
	if err := dispatch(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func dispatch(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New(usage)
	}
	switch command, args := args[0], args[1:]; {
	case command == "run":
		flags := flag.NewFlagSet("run", flag.ExitOnError)
		keep := flags.Bool("keep", false, "leave everything up at the end")
		onCluster := flags.Bool("cluster", false, "on a real control plane, instead of files")
		_ = flags.Parse(args)
		return run(ctx, *onCluster, *keep)
	case command == "down":
		return down(ctx)
	case command == "reflector" && len(args) == 1:
		return playReflector(ctx, args[0])
	case command == "registry":
		return playRegistry(ctx)
	case command == "pod" && len(args) == 2:
		return playPod(ctx, args[0], args[1])
	case command == "door" && len(args) == 1:
		return playDoor(ctx, args[0])
	}
	return errors.New(usage)
}

func run(ctx context.Context, onCluster, keep bool) (err error) {
	release, err := alone()
	if err != nil {
		return err
	}
	defer release()
	begin := time.Now()
	leftovers, err := sweep()
	if err != nil {
		return err
	}
	if leftovers {
		fmt.Print("Removed what an earlier demo had left.\n\n")
	}

	s := &story{lab: &lab{daemons: map[string]*daemon{}}}
	if onCluster {
		s.lab.cluster = newCluster()
	}
	err = s.tell(ctx)
	if ctx.Err() != nil {
		if err := removed(); err != nil {
			return err
		}
		return errors.New("interrupted: everything is removed")
	}
	if err != nil {
		s.showLogs()
	} else {
		s.summary()
	}
	if !keep {
		err = errors.Join(err, removed())
	}
	if err == nil {
		fmt.Printf("\ndemo passed in %.0f s\n", time.Since(begin).Seconds())
	}
	if keep {
		s.lookAround()
	}
	return err
}

func removed() error {
	_, err := sweep()
	return err
}

func down(context.Context) error {
	release, err := alone()
	if err != nil {
		return err
	}
	defer release()
	found, err := sweep()
	if err != nil {
		return err
	}
	if found {
		fmt.Println("The demo is removed: its processes, its namespaces,", runDir)
	} else {
		fmt.Println("There is nothing to remove.")
	}
	return nil
}

// alone makes sure that one demo runs at a time. An abstract socket leaves no trace and ends with its process.
func alone() (release func(), err error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("network namespaces need root: run make as root")
	}
	lock, err := net.Listen("unix", "@waymark-demo")
	if err != nil {
		return nil, fmt.Errorf("another demo is running on this machine: end it with Ctrl-C first (%w)", err)
	}
	return func() { lock.Close() }, nil
}
