package steps

import (
	"slices"
	"strings"
)

// A sshdRule says which values of an option of sshd_config(5) open nothing. Every other
// value does, or cannot be judged.
type sshdRule struct {
	option string
	fine   func(value string) bool
	means  string // what the others let happen; USER is the deploy user
	mend   string // what to write for the user
	global bool   // it cannot be written for one user
	note   bool   // nobody but the user, who is as good as root, gains by it
}

// sshdRules is the table of what could open the deploy user to others, shut CI out, or
// put something in place of the gate. TestSshdOptions tells of an option that stands neither
// here nor in one of the lists below.
var sshdRules = []sshdRule{
	{option: "AcceptEnv", fine: harmlessVariable, mend: "AcceptEnv none",
		means: "with the CI key one can set variables that run programs before the gate"},
	{option: "PermitTunnel", fine: is("no"), mend: "PermitTunnel no",
		means: "with the CI key one can open a tunnel, which restrict in authorized_keys does not forbid"},
	{option: "AuthorizedKeysCommand", fine: is("none"), mend: "AuthorizedKeysCommand none",
		means: "it lets in keys that stand in no file, past the gate"},
	{option: "TrustedUserCAKeys", fine: is("none"), mend: "TrustedUserCAKeys none",
		means: "certificates of these CAs log in as USER, past the gate"},
	{option: "HostbasedAuthentication", fine: is("no"), mend: "HostbasedAuthentication no",
		means: "users of other hosts log in as USER, past the gate"},
	{option: "KerberosAuthentication", fine: is("no"), mend: "KerberosAuthentication no",
		means: "whoever has a Kerberos password logs in as USER, past the gate"},
	{option: "ForceCommand", fine: is("none"), mend: "ForceCommand none",
		means: "it runs in place of the gate"},
	{option: "ChrootDirectory", fine: is("none"), mend: "ChrootDirectory none",
		means: "the gate is not in there"},
	{option: "AuthenticationMethods", fine: keyIsEnough, mend: "AuthenticationMethods publickey",
		means: "a key alone is not enough, so CI cannot log in"},
	{option: "PermitUserEnvironment", fine: is("no"), mend: "PermitUserEnvironment no", global: true, note: true,
		means: "~USER/.ssh/environment sets variables for what the gate and other commands of USER run"},
}

// gssapiRule counts only where the host can take part in Kerberos: Red Hat turns the
// option on everywhere.
var gssapiRule = sshdRule{option: "GSSAPIAuthentication", fine: is("no"), mend: "GSSAPIAuthentication no",
	means: "whoever has a Kerberos ticket for it logs in as USER, past the gate"}

// sshdLets are the options that say who comes in, and from where keys are taken: see
// [sshdConfig.lets], and [sshdConfig.keys] for the keys themselves.
var sshdLets = []string{"pubkeyauthentication", "authorizedkeysfile", "allowusers", "allowgroups", "denyusers", "denygroups"}

// sshdHarmless are the options that open nothing for the deploy user, whatever their
// values. They are not reported.
var sshdHarmless = []struct{ because, options string }{
	{"restrict in the line of a CI key closes it, and of lines without restrict unrestricted-keys tells",
		`allowagentforwarding allowstreamlocalforwarding allowtcpforwarding disableforwarding gatewayports permitlisten permitopen
		permittty permituserrc streamlocalbindmask streamlocalbindunlink x11displayoffset x11forwarding x11uselocalhost xauthlocation`},
	{"the forced command of the key takes its place",
		`subsystem`},
	{"no password matches that of the user, see the step user",
		`challengeresponseauthentication kbdinteractiveauthentication passwordauthentication permitemptypasswords skeyauthentication usepam pamservicename`},
	{"the step ci-key looks at the modes itself",
		`strictmodes`},
	{"root sets them, and no client can",
		`setenv`},
	{"it means nothing without another option, which is judged",
		`authorizedkeyscommanduser authorizedprincipalscommand authorizedprincipalscommanduser authorizedprincipalsfile
		exposeauthinfo gssapicleanupcredentials gssapidelegatecredentials gssapienablek5users gssapikeyexchange gssapistorecredentialsonrekey gssapistrictacceptorcheck
		hostbasedacceptedalgorithms hostbasedacceptedkeytypes hostbasedusesnamefrompacketonly ignorerhosts ignoreuserknownhosts
		kerberosgetafstoken kerberosorlocalpasswd kerberosticketcleanup kerberosuniqueccache kerberosusekuserok`},
	{"it lets in less, and never more",
		`maxauthtries maxsessions persourcemaxstartups persourcenetblocksize persourcepenalties persourcepenaltyexemptlist pubkeyauthoptions refuseconnection revokedkeys`},
	{"it says how a connection is secured, and not for whom",
		`casignaturealgorithms ciphers fingerprinthash gssapikexalgorithms hostcertificate hostkey hostkeyagent hostkeyalgorithms kexalgorithms macs moduli modulifile
		pubkeyacceptedalgorithms pubkeyacceptedkeytypes rekeylimit requiredrsasize rsaminsize securitykeyprovider`},
	{"it is about other users",
		`permitrootlogin`},
	{"it is about the server and its connections as a whole",
		`addressfamily banner channeltimeout clientalivecountmax clientaliveinterval compression debianbanner ipqos listenaddress logingracetime loglevel logverbose
		maxstartups pidfile port printlastlog printmotd rdomain routingdomain showpatchlevel sshdauthpath sshdsessionpath syslogfacility tcpkeepalive unusedconnectiontimeout
		usedns uselogin useprivilegeseparation versionaddendum xmssauthentication`},
}

// harmlessOptions returns the names in [sshdHarmless], with a blank on both sides of each.
func harmlessOptions() string {
	var names []string
	for _, h := range sshdHarmless {
		names = append(names, strings.Fields(h.options)...)
	}
	slices.Sort(names)
	return " " + strings.Join(names, " ") + " "
}

// sshdKnown tells whether an option, in lower case, is judged.
func sshdKnown(option string) bool {
	return slices.Contains(sshdLets, option) || slices.ContainsFunc(append(sshdRules, gssapiRule), func(r sshdRule) bool { return r.named(option) }) ||
		strings.Contains(harmlessOptions(), " "+option+" ")
}

func (r sshdRule) named(option string) bool { return strings.EqualFold(r.option, option) }

func is(fine string) func(string) bool { return func(value string) bool { return value == fine } }

// keyIsEnough is about AuthenticationMethods.
func keyIsEnough(value string) bool {
	return value == "any" || slices.Contains(strings.Fields(value), "publickey")
}

// harmlessVariable is about a pattern of AcceptEnv. What the gate runs has a clean
// environment; what matters is what the login shell and the dynamic loader read before
// there is a gate: BASH_FUNC_x%% and SHELLOPTS with PS4, LD_PRELOAD, GCONV_PATH, HOME, and
// more that nobody can list. So those are listed that nobody is hurt by.
func harmlessVariable(pattern string) bool {
	for _, prefix := range []string{"LC_", "GIT_"} {
		if strings.HasPrefix(pattern, prefix) {
			return true
		}
	}
	switch pattern {
	case "none", "LANG", "LANGUAGE", "COLORTERM", "NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "FORCE_COLOR", "TERM", "TERM_PROGRAM", "TERM_PROGRAM_VERSION",
		"XMODIFIERS", "EDITOR", "VISUAL", "PAGER", "EMAIL", "DEBEMAIL", "DEBFULLNAME":
		return true
	}
	return false
}
