package gobgp

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/server"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// privateSocket makes a directory beside path that only we may enter. GoBGP makes its socket with the rights that the umask
// leaves; so it is made there and moved to its place when its rights are right, which also replaces a stale one.
func privateSocket(path string) (string, error) {
	dir := path + ".new"
	if err := os.RemoveAll(dir); err != nil {
		return "", fmt.Errorf("make a place for the API socket: %w", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", fmt.Errorf("make a place for the API socket: %w", err)
	}
	return dir, nil
}

func publishSocket(ctx context.Context, private, path string) error {
	made := filepath.Join(private, "sock")
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for os.Chmod(made, 0o600) != nil { // GoBGP listens some time after its start, and only logs if it cannot
		select {
		case <-ctx.Done():
			return fmt.Errorf("listen on API socket %s: %w", path, ctx.Err())
		case <-time.After(time.Millisecond):
		}
	}
	if err := os.Rename(made, path); err != nil {
		return fmt.Errorf("move API socket to its place: %w", err)
	}
	return nil
}

func apiOptions(private string, writable bool) []server.ServerOption {
	guard := guard{writable}
	return []server.ServerOption{
		server.GrpcListenAddress("unix://" + filepath.Join(private, "sock")),
		server.GrpcOption([]grpc.ServerOption{grpc.UnaryInterceptor(guard.unary), grpc.StreamInterceptor(guard.stream)}),
	}
}

// guard lets through what only reads, and takes passwords out of what is read.
type guard struct{ writable bool }

func (g guard) check(method string) error {
	name := method[strings.LastIndexByte(method, '/')+1:]
	if g.writable || strings.HasPrefix(name, "List") || strings.HasPrefix(name, "Get") || strings.HasPrefix(name, "Watch") {
		return nil
	}
	return status.Errorf(codes.PermissionDenied, "%s: waymark-agent owns this speaker and its API is read-only; "+
		"change the waymark.io objects, or start waymark-agent with --gobgp-writable", name)
}

func (g guard) unary(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	if err := g.check(info.FullMethod); err != nil {
		return nil, err
	}
	return handler(ctx, request)
}

func (g guard) stream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	if err := g.check(info.FullMethod); err != nil {
		return err
	}
	return handler(srv, withoutPasswords{stream})
}

type withoutPasswords struct{ grpc.ServerStream }

func (s withoutPasswords) SendMsg(m any) error {
	switch m := m.(type) {
	case *api.ListPeerResponse:
		if conf := m.GetPeer().GetConf(); conf != nil {
			conf.AuthPassword = ""
		}
	case *api.ListPeerGroupResponse:
		if conf := m.GetPeerGroup().GetConf(); conf != nil {
			conf.AuthPassword = ""
		}
	}
	return s.ServerStream.SendMsg(m)
}
