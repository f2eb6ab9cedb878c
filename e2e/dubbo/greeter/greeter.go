// Package greeter is the service that the provider registers and the consumer calls, by the Dubbo protocol (parameters in
// hessian2) and by Triple (in protobuf), and what else both must know to find each other.
package greeter

import (
	"context"
	"flag"
	"fmt"

	"dubbo.apache.org/dubbo-go/v3/client"
	"dubbo.apache.org/dubbo-go/v3/common"
	"dubbo.apache.org/dubbo-go/v3/common/constant"
	"dubbo.apache.org/dubbo-go/v3/protocol/triple/triple_protocol"
	"dubbo.apache.org/dubbo-go/v3/registry"
	"google.golang.org/protobuf/types/known/wrapperspb"

	// What dubbo-go finds by name: `imports` of dubbo-go would bring every registry and tracer there is.
	_ "dubbo.apache.org/dubbo-go/v3/cluster/cluster/failover"
	_ "dubbo.apache.org/dubbo-go/v3/cluster/loadbalance/random"
	_ "dubbo.apache.org/dubbo-go/v3/filter/accesslog"
	_ "dubbo.apache.org/dubbo-go/v3/filter/echo"
	_ "dubbo.apache.org/dubbo-go/v3/filter/exec_limit"
	_ "dubbo.apache.org/dubbo-go/v3/filter/generic"
	_ "dubbo.apache.org/dubbo-go/v3/filter/graceful_shutdown"
	_ "dubbo.apache.org/dubbo-go/v3/filter/token"
	_ "dubbo.apache.org/dubbo-go/v3/filter/tps"
	_ "dubbo.apache.org/dubbo-go/v3/metadata/mapping/metadata"
	_ "dubbo.apache.org/dubbo-go/v3/metadata/report/zookeeper"
	_ "dubbo.apache.org/dubbo-go/v3/protocol/dubbo"
	_ "dubbo.apache.org/dubbo-go/v3/protocol/triple"
	_ "dubbo.apache.org/dubbo-go/v3/proxy/proxy_factory"
	_ "dubbo.apache.org/dubbo-go/v3/registry/directory"
	_ "dubbo.apache.org/dubbo-go/v3/registry/protocol"
	_ "dubbo.apache.org/dubbo-go/v3/registry/servicediscovery"
	_ "dubbo.apache.org/dubbo-go/v3/registry/zookeeper"
)

// Method is the only one of the service.
const Method = "Greet"

// Greeter is the service: it greets a name as the one it is called itself.
type Greeter struct{ Self string }

// Greet is called as it stands by the Dubbo protocol.
func (g *Greeter) Greet(_ context.Context, name string) (string, error) {
	return fmt.Sprintf("hello %s, this is %s", name, g.Self), nil
}

// Reference implements common.RPCService.
func (g *Greeter) Reference() string { return "Greeter" }

// Provided describes the service to dubbo-go's server, as generated code of a protobuf service does.
func Provided(service string) *common.ServiceInfo {
	return &common.ServiceInfo{
		InterfaceName: service,
		ServiceType:   (*Greeter)(nil),
		Methods: []common.MethodInfo{{
			Name:        Method,
			Type:        constant.CallUnary,
			ReqInitFunc: func() any { return new(wrapperspb.StringValue) },
			MethodFunc: func(ctx context.Context, args []any, handler any) (any, error) {
				answer, err := handler.(*Greeter).Greet(ctx, args[0].(*wrapperspb.StringValue).GetValue())
				if err != nil {
					return nil, err
				}
				return triple_protocol.NewResponse(wrapperspb.String(answer)), nil
			},
		}},
	}
}

// Consumed describes the service to dubbo-go's client.
func Consumed(service string) *client.ClientInfo {
	return &client.ClientInfo{InterfaceName: service, MethodNames: []string{Method}}
}

// Flags are those of provider and consumer alike.
type Flags struct {
	Registry, Protocol, Interface, Level string
}

// Parse reads the flags of the program, and what flags of its own it has defined.
func (f *Flags) Parse() {
	flag.StringVar(&f.Registry, "registry", "127.0.0.1:2181", "ZooKeeper, `HOST:PORT[,HOST:PORT]`")
	flag.StringVar(&f.Protocol, "protocol", constant.Dubbo, "dubbo (with hessian2) or tri (with protobuf)")
	flag.StringVar(&f.Interface, "interface", "org.example.Greeter", "name of the service")
	flag.StringVar(&f.Level, "level", constant.RegistryTypeInterface, "what is registered and looked up: interface, service (the application) or all")
	flag.Parse()
}

// Options tell dubbo-go which registry to use. Without a group of it interfaces are below /dubbo and applications below /services.
func (f *Flags) Options() []registry.Option {
	level := func(o *registry.Options) { o.Registry.RegistryType = f.Level }
	return []registry.Option{registry.WithZookeeper(), registry.WithAddress(f.Registry), level}
}
