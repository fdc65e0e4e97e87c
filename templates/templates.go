// Package templates holds the shell that is longer than a few lines: what all
// scripts use, and what is installed on hosts. The files are linted as they
// are, and used as they are.
package templates

import _ "embed"

// Prelude has the functions that every script may use.
//
//go:embed prelude.sh
var Prelude string

// Gate is the forced command of deploy keys.
//
//go:embed gate.sh
var Gate string

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

// Login logs a user in to a registry.
var Login = json + login

// Logins looks at the login of a user to a registry.
var Logins = json + logins

//go:embed ci-variables.sh
var ciVariables string

//go:embed ci-before.sh
var ciBefore string

// CIBefore makes a job of CI ready for [CIDeploy].
var CIBefore = ciVariables + ciBefore

// CIDeploy is the job of CI that deploys.
//
//go:embed ci-deploy.sh
var CIDeploy string

// CIVerifyBefore makes a job of CI ready for [CIVerify].
var CIVerifyBefore = ciVariables

// CIVerify is the job of CI that verifies the deployment of its environment.
//
//go:embed ci-verify.sh
var CIVerify string

// CIVerifyFleet is the job of CI that verifies a part of all deployments.
//
//go:embed ci-verify-fleet.sh
var CIVerifyFleet string
