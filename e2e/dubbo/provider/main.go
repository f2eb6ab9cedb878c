// Provider registers the service Greeter with the address of its network card, as every Dubbo provider does, and serves it
// until it is stopped.
package main

import (
	"flag"
	"log"
	"os"

	"dubbo.apache.org/dubbo-go/v3"
	"dubbo.apache.org/dubbo-go/v3/protocol"

	"github.com/waymark-bgp/waymark/e2e/dubbo/greeter"
)

func main() {
	var flags greeter.Flags
	application := flag.String("application", "greeter", "name of the application")
	port := flag.Int("port", 20880, "TCP port to listen on")
	self := flag.String("self", "a provider", "whom the greeting is from")
	flags.Parse()
	if err := serve(flags, *application, *self, *port); err != nil {
		log.Print(err)
		os.Exit(1)
	}
}

func serve(flags greeter.Flags, application, self string, port int) error {
	instance, err := dubbo.NewInstance(
		dubbo.WithName(application),
		dubbo.WithRegistry(flags.Options()...),
		dubbo.WithProtocol(protocol.WithProtocol(flags.Protocol), protocol.WithPort(port)),
	)
	if err != nil {
		return err
	}
	server, err := instance.NewServer()
	if err != nil {
		return err
	}
	if err := server.Register(&greeter.Greeter{Self: self}, greeter.Provided(flags.Interface)); err != nil {
		return err
	}
	return server.Serve()
}
