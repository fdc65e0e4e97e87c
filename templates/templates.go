// Package templates holds the shell that is longer than a few lines: what all
// scripts use, and what is installed on hosts. The files are linted as they
// are, and used as they are.
package templates

import _ "embed"

// Prelude has the functions that every script may use.
//
//go:embed prelude.sh
var Prelude string
