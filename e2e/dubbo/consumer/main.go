// Consumer looks the service Greeter up in the registry, calls it until it is answered once, and prints the answer.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"time"

	"dubbo.apache.org/dubbo-go/v3"
	"dubbo.apache.org/dubbo-go/v3/client"
	"dubbo.apache.org/dubbo-go/v3/common/constant"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/waymark-bgp/waymark/e2e/dubbo/greeter"
)

func main() {
	var flags greeter.Flags
	name := flag.String("name", "world", "who is to be greeted")
	timeout := flag.Duration("timeout", 3*time.Second, "how long to try")
	flags.Parse()
	answer, err := call(flags, *name, *timeout)
	if err != nil {
		log.Print(err)
		os.Exit(1)
	}
	fmt.Println(answer)
}

// serializations are those of the parameters, by protocol.
var serializations = map[string]string{constant.Dubbo: constant.Hessian2Serialization, constant.TriProtocol: constant.ProtobufSerialization}

func call(flags greeter.Flags, name string, timeout time.Duration) (string, error) {
	end := time.Now().Add(timeout)
	instance, err := dubbo.NewInstance(dubbo.WithName("consumer"), dubbo.WithRegistry(flags.Options()...))
	if err != nil {
		return "", err
	}
	consumer, err := instance.NewClient(
		client.WithClientProtocol(flags.Protocol), client.WithClientSerialization(serializations[flags.Protocol]),
		client.WithClientRequestTimeout(timeout), client.WithClientRetries(0),
	)
	if err != nil {
		return "", err
	}
	connection, err := consumer.DialWithInfo(flags.Interface, greeter.Consumed(flags.Interface))
	if err != nil {
		return "", err
	}
	for {
		answer, err := greet(connection, flags.Protocol, name, timeout)
		if err == nil || time.Now().After(end) {
			return answer, err
		}
		time.Sleep(50 * time.Millisecond) // dubbo-go looks providers up, and connects to them, in the background
	}
}

func greet(connection *client.Connection, protocol, name string, timeout time.Duration) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	if protocol == constant.Dubbo {
		var answer string
		err := connection.CallUnary(ctx, []any{name}, &answer, greeter.Method)
		return answer, err
	}
	answer := new(wrapperspb.StringValue)
	err := connection.CallUnary(ctx, []any{wrapperspb.String(name)}, answer, greeter.Method)
	return answer.GetValue(), err
}
