package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
)

// scope stands in for a test where package nettest asks for one: it removes at its end what was made in it, and the first
// failure ends it.
type scope struct {
	testing.TB // not there; it may be called for nothing but what is below

	cleanups []func()
	logs     []string
	failed   bool
}

// failure is what ends a scope.
type failure struct{ error }

// measure runs f in a scope and returns its failure.
func measure(f func(s *scope)) (err error) {
	s := &scope{}
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

// check ends the scope if there is an error.
func (s *scope) check(err error, doing string) {
	if err != nil {
		panic(failure{fmt.Errorf("%s: %w", doing, err)})
	}
}

func (s *scope) Helper()          {}
func (s *scope) Failed() bool     { return s.failed }
func (s *scope) Cleanup(f func()) { s.cleanups = append(s.cleanups, f) }
func (s *scope) Logf(format string, args ...any) {
	s.logs = append(s.logs, fmt.Sprintf(format, args...))
}
func (s *scope) Fatal(args ...any)                 { panic(failure{errors.New(fmt.Sprint(args...))}) }
func (s *scope) Fatalf(format string, args ...any) { panic(failure{fmt.Errorf(format, args...)}) }

func (s *scope) TempDir() string {
	dir, err := os.MkdirTemp("", "scope-")
	s.check(err, "make a directory")
	s.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}
