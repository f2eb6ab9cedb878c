// Package measure is what benchmarks share: a place that is removed with everything in it, processes and what they take,
// figures and the targets that they are judged by.
package measure

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"testing"
)

// Main runs a benchmark with a temporary directory for all that it writes, and returns the exit code: 1 when something could
// not be measured. A target that is missed is a result. It is called in namespaces of its own.
func Main(name string, benchmark func() error) int {
	dir, err := os.MkdirTemp("", "waymark-"+name+"-")
	if err != nil {
		fmt.Fprintln(os.Stderr, name+":", err)
		return 1
	}
	defer os.RemoveAll(dir)
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-interrupted
		_ = os.RemoveAll(dir)
		os.Exit(130) // and with this first process of the namespace everything in it
	}()
	err = errors.Join(os.Chmod(dir, 0o755), os.Setenv("TMPDIR", dir)) // FRR's user has its directories in it too
	if err == nil {
		err = benchmark()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, name+":", err)
		return 1
	}
	return 0
}

// Progress tells a person who waits.
func Progress(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

// Scope stands in for a test where package nettest asks for one: it removes at its end what was made in it, and the first
// failure ends it.
type Scope struct {
	testing.TB // not there; it may be called for nothing but what is below

	cleanups []func()
	logs     []string
	failed   bool
}

// failure is what ends a scope.
type failure struct{ error }

// In runs f in a scope and returns its failure.
func In(f func(s *Scope)) (err error) {
	s := &Scope{}
	defer func() {
		switch r := recover().(type) {
		case nil:
		case failure:
			s.failed = true
			err = r.error
		default:
			panic(r)
		}
		for _, cleanup := range slices.Backward(s.cleanups) {
			cleanup()
		}
		for _, log := range s.logs {
			fmt.Fprintln(os.Stderr, log)
		}
	}()
	f(s)
	return nil
}

// Check ends the scope if there is an error.
func (s *Scope) Check(err error, doing string) {
	if err != nil {
		panic(failure{fmt.Errorf("%s: %w", doing, err)})
	}
}

// Helper is of testing.TB, as are the following.
func (s *Scope) Helper() {}

// Failed says whether the scope has ended by a failure.
func (s *Scope) Failed() bool { return s.failed }

// Cleanup has f called when the scope ends, the last one first.
func (s *Scope) Cleanup(f func()) { s.cleanups = append(s.cleanups, f) }

// Logf keeps a message that is printed when the scope has ended.
func (s *Scope) Logf(format string, args ...any) {
	s.logs = append(s.logs, fmt.Sprintf(format, args...))
}

// Fatal ends the scope.
func (s *Scope) Fatal(args ...any) { panic(failure{errors.New(fmt.Sprint(args...))}) }

// Fatalf ends the scope.
func (s *Scope) Fatalf(format string, args ...any) { panic(failure{fmt.Errorf(format, args...)}) }

// TempDir makes a directory that is removed with the scope.
func (s *Scope) TempDir() string {
	dir, err := os.MkdirTemp("", "scope-")
	s.Check(err, "make a directory")
	s.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}
