// Package version says which build a program is.
package version

import "runtime/debug"

// String is the module's version as Go has stamped it into the program: a tag, or the time and hash of a commit, with "+dirty"
// behind it when files had been changed since. "devel": built without version control, or with -buildvcs=false.
func String() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return "devel"
	}
	return info.Main.Version
}
