package cmd

import (
	"context"
	"runtime"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"provision/cmd/fleet"
	"provision/cmd/output"
	"provision/cmd/usage"
	"provision/inventory"
)

// fleetOptions are the flags that all commands have that look at hosts.
type fleetOptions struct {
	inventory string
	limit     []string
	parallel  int
	output    string
	sshConfig string
	lockWait  time.Duration // only of the commands that change something
	verbose   bool
	trace     string // a file
}

func fleetFlags() []cli.Flag {
	return append(hostFlags(),
		&cli.StringFlag{Name: "parallel", Category: groupHosts, Aliases: []string{"p"}, Value: "10", Usage: "`N`: how many hosts at a time; auto: as many as this machine can"},
		&cli.BoolFlag{Name: "verbose", Category: groupOutput, Aliases: []string{"v"}, Usage: "print what is begun, what scripts print, and what is ok, too"},
	)
}

// hostFlags are those of all commands that reach hosts. Those about one deployment
// have no others: how many of its hosts are worked on at a time is part of what they
// do, and so is what they print.
func hostFlags() []cli.Flag {
	return append([]cli.Flag{
		&cli.StringSliceFlag{Name: "limit", Category: groupHosts, Aliases: []string{"l"}, Usage: "`PATTERN`: only these hosts or deployments; with * and ?"},
	}, reachFlags()...)
}

// reachFlags are hostFlags of a command that knows which hosts it is about.
func reachFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "output", Category: groupOutput, Aliases: []string{"o"}, Value: "text", Usage: "`text|json`: lines to read, or one object a line"},
		&cli.StringFlag{Name: "ssh-config", Category: groupHosts, Aliases: []string{"F"}, Usage: "`FILE`: read this in place of ~/.ssh/config"},
		&cli.StringFlag{Name: "trace", Category: groupOutput, Usage: "`FILE`: write all that is sent to and received from hosts and GitLab, without secrets"},
	}
}

func lockWaitFlag() cli.Flag {
	return &cli.DurationFlag{Name: "lock-wait", Category: groupHosts, Usage: "`DURATION`: wait up to this long for another run that is changing a host"}
}

func fleetOptionsOf(c *cli.Context) (o fleetOptions, err error) {
	if o, err = hostOptionsOf(c, c.Args().Slice()); err != nil {
		return o, err
	}
	o.lockWait, o.verbose = c.Duration("lock-wait"), c.Bool("verbose")
	o.parallel, err = breadth(c.String("parallel"))
	return o, err
}

// hostOptionsOf reads hostFlags, and the inventory among some arguments.
func hostOptionsOf(c *cli.Context, args []string) (o fleetOptions, err error) {
	o = fleetOptions{limit: c.StringSlice("limit"), output: c.String("output"), sshConfig: c.String("ssh-config"), trace: c.String("trace")}
	if o.inventory, err = inventoryOf(c, args); err != nil {
		return o, err
	}
	if o.output != "text" && o.output != "json" {
		return o, usagef("--output is text or json, not %q", o.output)
	}
	return o, nil
}

// breadth reads how many hosts are worked on at a time. Most of the time a host
// is waited for, but while it is logged in to it takes a core of this machine
// for some milliseconds, and a login that waits for too many others runs into
// the patience of its server.
func breadth(parallel string) (int, error) {
	if parallel == "auto" {
		return min(16*runtime.GOMAXPROCS(0), 128), nil
	}
	n, err := strconv.Atoi(parallel)
	if err != nil || n < 1 {
		return 0, usagef("--parallel wants a number of hosts, at least 1, or auto")
	}
	return n, nil
}

// A run is one run of a command that looks at hosts: what it is about, and who
// is told of it.
type run struct {
	fleetOptions
	env      Env
	inv      *inventory.Inventory
	selected *inventory.Inventory // what --limit selects of it
	ask      *asker
	live     *output.Live

	interrupts bool // that is what the command is for
}

// begin opens the trace and reads the inventory.
func begin(env Env, o fleetOptions) (r *run, err error) {
	if err := env.trace.Open(o.trace, version(), env.Args[1:]); err != nil {
		return nil, err
	}
	r = &run{fleetOptions: o, env: env, ask: newAsker(env), live: &output.Live{}}
	if o.output == "text" {
		r.live = output.NewLive(env.Stdout, env.Stderr)
	}
	r.ask.pause = r.live.Pause
	if r.inv, err = inventory.Load(o.inventory); err != nil {
		return nil, usage.Error{Err: err}
	}
	return r, r.limitTo(o.limit)
}

// limitTo selects what the run is about, by the patterns of --limit.
func (r *run) limitTo(patterns []string) (err error) {
	r.limit = patterns
	if r.selected, err = r.inv.Select(patterns); err != nil {
		return usage.Error{Err: err}
	}
	return nil
}

// all returns what --limit selects, which is something.
func (r *run) all() ([]fleet.Part, error) {
	parts := fleet.AllOf(r.selected)
	if len(parts) == 0 {
		return nil, usagef("%s has no host", r.inventory)
	}
	return parts, nil
}

// deployed returns the hosts with deployments that --limit selects.
func (r *run) deployed() ([]fleet.Part, error) {
	if _, err := r.all(); err != nil {
		return nil, err
	}
	parts := fleet.PartsOf(r.selected.Deployments)
	if len(parts) == 0 {
		return nil, usagef("there is no deployment")
	}
	return parts, nil
}

// open opens a fleet, as the flags say.
func (r *run) open(ctx context.Context, o fleet.Options) (*fleet.Fleet, error) {
	o.Inventory, o.Parallel, o.LockWait, o.SSHConfig = r.inv, r.parallel, r.lockWait, r.sshConfig
	o.Timeout, o.Version, o.Dialer = r.env.Timeout, version(), r.env.dialer
	o.Passphrase, o.Progress, o.Trace = r.ask.passphrase, r.live, r.env.trace
	o.Waiting = func(text string) { r.live.Waiting(r.env.Stderr, text) }
	if r.ask.terminal() {
		o.Password, r.ask.sudoers = r.ask.sudo, sudoers(o.Parts)
	}
	return fleet.Open(ctx, o)
}

// sudoers counts the hosts that may ask for a password that has to be typed.
func sudoers(parts []fleet.Part) (n int) {
	for _, p := range parts {
		if p.Host.Become == inventory.BecomeSudo && p.Host.BecomePassword.IsZero() {
			n++
		}
	}
	return n
}

// report begins a report of what is done to hosts.
func (r *run) report() *output.Report {
	return output.New(output.Options{
		Out: r.env.Stdout, Errs: r.env.Stderr, JSON: r.output == "json", Verbose: r.verbose, Interrupt: r.interrupts, Live: r.live, Trace: r.env.trace,
	})
}

// cost is what the summary of a report says of a fleet.
func cost(f *fleet.Fleet) (c output.Cost) {
	c.Connections, c.Trips = f.Cost()
	return c
}

// outcomes prints how every host ended, in the order of the inventory. What ended
// prints of one comes before its error.
func outcomes(r *output.Report, sites []*fleet.Site, errs map[*inventory.Host]error, ended func(*fleet.Site, error)) (failed bool) {
	for _, s := range sites {
		err := errs[s.Host]
		ended(s, err)
		if err != nil {
			r.Fail(s.Host.Name, err)
			failed = true
		}
	}
	return failed
}
