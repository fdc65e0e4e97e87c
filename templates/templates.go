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

// Gate is the forced command of CI keys.
//
//go:embed gate.sh
var Gate string

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
var Containers = Health + Wants + containers

//go:embed override.sh
var override string

// Override writes the override of a deployment.
var Override = Wants + override

//go:embed project.sh
var project string

//go:embed record.sh
var record string

//go:embed status.sh
var status string

//go:embed deploy.sh
var deploy string

// Deploy is the program that a deploy is: what the gate and apply begin.
var Deploy = "#!/bin/sh\n" + deploy[:strings.Index(deploy, "set -eu\n")] + Health + Wants + project + record + status + deploy[strings.Index(deploy, "set -eu\n"):]

// Authorize puts the line of a deploy key into authorized_keys.
//
//go:embed authorize.sh
var Authorize string

//go:embed json.sh
var json string

//go:embed login.sh
var login string

//go:embed logins.sh
var logins string

//go:embed logout.sh
var logout string

// Login logs a user in to a registry.
var Login = json + login

// Logout takes the login of a user to a registry away.
var Logout = json + logout

// Logins looks at the login of a user to a registry.
var Logins = json + logins

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
