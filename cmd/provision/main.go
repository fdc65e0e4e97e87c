// Command provision turns bare Linux hosts into deployment targets for GitLab.
package main

import (
	"os"

	"provision/cmd"
)

func main() { os.Exit(cmd.Main()) }
