// Package agent is one node's way through the house: a Snapshot of all inputs, Decide (pure) that makes a Plan of it, and
// Agent that applies the plan: withdraw what must go, source addresses, kernel routes, announcements. Always in this order,
// always the whole state, and again on every change.
package agent
