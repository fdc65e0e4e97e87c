// Package templates holds the shell that is longer than a few lines: what all
// scripts use, and what is installed on hosts. The files are linted as they
// are, and used as they are.
package templates

import (
	_ "embed"
	"strings"
)

// Prelude has the functions that every script may use.
//
//go:embed prelude.sh
var Prelude string

// Settings has the functions that read what a host knows of its deployments.
//
//go:embed settings.sh
var Settings string

// Relabel gives the lines of keys in authorized_keys another name of their
// deployment. It is a program of its own, with that user and the two names.
//
//go:embed relabel.sh
var Relabel string

//go:embed rename.sh
var rename string

// Rename has a deployment called as it should be.
var Rename = Settings + rename

//go:embed gate.sh
var gate string

// Gate is the forced command of CI keys.
var Gate = withSettings(gate)

// withSettings puts [Settings] into a program, behind its first lines.
func withSettings(program string) string {
	head, rest, _ := strings.Cut(program, "set -eu\n")
	return head + "set -eu\n" + Settings + rest
}

// Health has the functions that tell what runs, and whether it is well.
//
//go:embed health.sh
var Health string

// Wants has the functions that tell what Compose wants of a project. Whoever uses
// them has functions compose and compose_of_input, which run it.
//
//go:embed wants.sh
var Wants string

//go:embed containers.sh
var containers string

// Containers looks at what Compose wants of a deployment, and what runs.
var Containers = Settings + Health + Wants + Clone + containers

// Clone has the functions that tell what was put into a clone beside what git
// brings.
//
//go:embed clone.sh
var Clone string

//go:embed env.sh
var env string

//go:embed envs.sh
var envs string

//go:embed file.sh
var file string

//go:embed files.sh
var files string

//go:embed unfile.sh
var unfile string

// Env writes our lines into the .env of a clone, or takes them out.
var Env = Settings + Clone + env

// Envs looks at our lines in the .env of a clone.
var Envs = Clone + envs

// SecretFile writes a file into a clone.
var SecretFile = Clone + file

// SecretFiles looks at the files that were written into a clone.
var SecretFiles = Clone + files

// RemoveSecretFiles takes files out of a clone that [SecretFile] has written.
var RemoveSecretFiles = Clone + unfile

//go:embed move.sh
var move string

// Move does on one host what a move of a deployment to another one takes.
var Move = Health + move

// MoveCopy copies a volume of a deployment that moves.
//
//go:embed move_copy.sh
var MoveCopy string

// MoveProgram is Move as a program of its own.
var MoveProgram = "#!/bin/sh\nset -eu\nPATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C\nexport PATH LC_ALL\nmark='' _secret=''\n" + Prelude + Move

//go:embed override.sh
var override string

// Override writes the override of a deployment.
var Override = Wants + override

//go:embed git.sh
var git string

//go:embed checkout.sh
var checkout string

// Checkout clones the project of a deployment.
var Checkout = git + checkout

//go:embed update_look.sh
var updateLook string

// UpdateLook looks what an update of a clone would bring.
var UpdateLook = Settings + git + Wants + updateLook

//go:embed no_deploy.sh
var noDeploy string

//go:embed update.sh
var update string

// Update brings a clone to another commit.
var Update = Settings + git + noDeploy + update

//go:embed submodules.sh
var submodules string

// Submodules clones the submodules of a clone.
var Submodules = Settings + git + noDeploy + submodules

//go:embed project.sh
var project string

//go:embed record.sh
var record string

//go:embed status.sh
var status string

//go:embed deploy.sh
var deploy string

// Deploy is the program that a deploy is: what the gate and apply begin.
var Deploy = "#!/bin/sh\n" + deploy[:strings.Index(deploy, "set -eu\n")] + Settings + Health + Wants + project + record + status + deploy[strings.Index(deploy, "set -eu\n"):]

// Authorize puts the line of a deploy key into authorized_keys.
//
//go:embed authorize.sh
var Authorize string

//go:embed json.sh
var json string

//go:embed pulls.sh
var pulls string

//go:embed login.sh
var login string

//go:embed logins.sh
var logins string

//go:embed logout.sh
var logout string

// Login logs a user in to a registry.
var Login = json + pulls + login

// Logout takes the login of a user to a registry away.
var Logout = json + logout

// Logins looks at the login of a user to a registry.
var Logins = json + pulls + logins

// CIVariables is how a job of CI gets the variables of a deployment.
//
//go:embed ci-variables.sh
var CIVariables string

//go:embed ci-before.sh
var ciBefore string

// CIBefore makes a job of CI ready for ssh.
var CIBefore = CIVariables + ciBefore

// CIDeploy is what a job of CI deploys with, after [CIBefore].
//
//go:embed ci-deploy.sh
var CIDeploy string

// CIVerify is what a job of CI verifies the deployment of its environment
// with, after [CIVariables].
//
//go:embed ci-verify.sh
var CIVerify string

// CIVerifyFleet is what one of several jobs of CI verifies its part of the
// fleet with.
//
//go:embed ci-verify-fleet.sh
var CIVerifyFleet string
