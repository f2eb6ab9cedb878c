// Package logformat is the choice that --log-format gives.
package logformat

import (
	"log/slog"
	"os"
)

// Handler writes the log to standard error in a format, text or json; nil: there is no such format.
func Handler(format string) slog.Handler {
	switch format {
	case "text":
		return slog.NewTextHandler(os.Stderr, nil)
	case "json":
		return slog.NewJSONHandler(os.Stderr, nil)
	}
	return nil
}
