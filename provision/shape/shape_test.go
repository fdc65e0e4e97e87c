package shape

import "testing"

// A fact has its shape as a whole, and what is known here means itself.
func TestShapes(t *testing.T) {
	const digest = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	facts := Facts{
		"n": Number, "digest": Digest, "image": Image, "commit": Commit, "mode": Mode, "name": Name, "key": PublicKey,
		"print": Fingerprint, "word": Words("a.b", "has (c)|d", "x^$[*+?{}]\\"), "row": Row(Name, Number), "all": List(Name),
		"either": Either(Number, Words("none")), "after": After("state=", Name), "user *": Name,
	}
	match := facts.Matcher()
	for fact, want := range map[string]bool{
		"n=17": true, "n=": false, "n=-1": false, "n=1 2": false, "n=1234567890123456789": false,
		"digest=" + digest: true, "digest=" + digest + "0": false, "digest=" + digest[1:]: false, "digest=" + digest[1:] + "G": false,
		"image=sha256:" + digest: true, "image=" + digest: false,
		"commit=" + digest: true, "commit=" + digest[:40]: true, "commit=" + digest[:41]: false,
		"mode=600": true, "mode=0644": true, "mode=68": false, "mode=680": false,
		"name=frobnicator-1": true, "name=feature/x": true, "name=": false, "name=-x": false, "name=a b": false, "name=a=b": false, "name=a\nb": false,
		"key=ssh-ed25519 AAAAC3Nz": true, "key=ssh-ed25519 AAAAC3Nz comment": false, "key=secret AAAAC3Nz": false, "key=ssh-ed25519 word": false,
		"print=SHA256:" + digest[:43]: true, "print=SHA256:" + digest[:42]: false,
		"word=a.b": true, "word=axb": false, "word=has (c)|d": true, "word=has (c)": false, "word=x^$[*+?{}]\\": true,
		"row=web 2": true, "row=web": false, "row=web 2 3": false,
		"all=": true, "all=a": true, "all=a b c": true, "all=a  b": false,
		"either=3": true, "either=none": true, "either=some": false,
		"after=state=x": true, "after=x": false,
		"user app=deploy": true, "user a b=deploy": false, "user =deploy": false, "user app=a b": false,
		"other=1": false, "n": false, "xn=1": false, "n=1\n": false,
	} {
		if match(fact) != want {
			t.Errorf("%q has its shape: %v", fact, !want)
		}
	}
	all := facts.With(Facts{"more": Number, "n": Name})
	if more := all.Matcher(); !more("more=1") || !more("n=x") || match("more=1") || match("n=x") {
		t.Error("With changes the facts, or adds nothing to them")
	}
}
