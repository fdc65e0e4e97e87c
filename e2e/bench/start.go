package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const hostKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIC5pD8xXmTv2s5o8jrefxD4xScp82SkYM9QBPp/kMnm0"

// start measures what is there before any host is.
func (b *bench) start(ctx context.Context) error {
	git := &command{name: "git --version", args: []string{"git", "--version"}}
	version := &command{name: "provision version", args: []string{b.program, "version"}}

	file := filepath.Join(b.dir, "large.toml")
	if err := os.WriteFile(file, []byte(large(5000)), 0o644); err != nil {
		return err
	}
	// A pattern that nothing has ends it when all is loaded and checked.
	load := &command{name: "load", args: []string{b.program, "plan", "--limit", "nothing-has-this-name", file}, exit: 2, every: 4}
	if err := interleave(ctx, 41, git, version, load); err != nil {
		return err
	}
	b.table.add("start-up: `provision version`, to `git --version`",
		fmt.Sprintf("%s to %s: × %.1f", ms(version.median()), ms(git.median()), version.against(git)), "≤ × 2", version.against(git) <= 2)
	info, err := os.Stat(b.program)
	if err != nil {
		return err
	}
	b.table.add("the binary, stripped", fmt.Sprintf("%.1f MB", float64(info.Size())/1e6), "≤ 15 MB", info.Size() <= 15e6)
	b.table.add("load and check 5,000 hosts, to start-up",
		fmt.Sprintf("%s: × %.1f", ms(load.median()), load.against(version)), "≤ × 20", load.against(version) <= 20)
	return nil
}

// large is an inventory with n hosts, each with a deployment.
func large(n int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "[gitlab]\nurl = \"https://git.example.com\"\nhost_keys = [%q]\n[registry]\nhost = \"registry.example.com\"\n", hostKey)
	b.WriteString("[defaults.host]\nuser = \"admin\"\n")
	var hosts []string
	for i := range n {
		fmt.Fprintf(&b, "[hosts.h%d]\naddress = \"h%d.example.com\"\n", i, i)
		hosts = append(hosts, fmt.Sprintf("%q", fmt.Sprintf("h%d", i)))
	}
	fmt.Fprintf(&b, "[deployments.app]\nhosts = [%s]\n", strings.Join(hosts, ", "))
	b.WriteString("project = \"transmogrify/frobnicator\"\nuser = \"deploy-user\"\ndirectory = \"frobnicator\"\nenvironment = \"production\"\nvariables = { group = \"transmogrify\" }\n")
	return b.String()
}
