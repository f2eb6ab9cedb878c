// Package e2e tells Waymark's stories with the real programs: the built agent and waymark-bfd, real routers, real packets.
// One file per story; lab_test.go builds the network that they happen in.
package e2e
