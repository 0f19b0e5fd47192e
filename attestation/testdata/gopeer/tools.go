//go:build tools

// Package peer pins the Go verifiers whose verdicts are compared with ours.
package peer

import (
	_ "github.com/google/go-sev-guest/tools/check"
	_ "github.com/google/go-tdx-guest/tools/check"
)
