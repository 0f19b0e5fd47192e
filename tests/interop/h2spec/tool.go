//go:build tool

// Pins h2spec and all it is built from: the checksums are in go.sum.
package tool

import _ "github.com/summerwind/h2spec/cmd/h2spec"
