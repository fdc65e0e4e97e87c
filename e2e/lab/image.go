package lab

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"time"
)

// An Image is a tiny web server: busybox httpd, which answers every GET of /
// on port 80 with the version. The version is also in the file /version, in
// the environment variable VERSION and in the label "version".
type Image struct {
	Repository string // the path in the registry: "transmogrify/frobnicator"
	Tag        string
	Version    string
	Healthy    bool // whether the image has a HEALTHCHECK, which succeeds within a second or so, and is then made once a minute
	Broken     bool // whether that fails instead; the image has one then

	Shell   string            // runs in place of the web server
	Labels  map[string]string // more labels
	Ballast int               // how many bytes it is bigger, packed as well
}

// Push makes an image and uploads it. token is called with the scope of the
// upload, "repository:NAME:pull,push", and returns a bearer token for it.
// Push returns the digest of the manifest.
func (r *Registry) Push(ctx context.Context, i Image, token func(ctx context.Context, scope string) (string, error)) (string, error) {
	bearer, err := token(ctx, "repository:"+i.Repository+":pull,push")
	if err != nil {
		return "", fmt.Errorf("a token to push %s: %w", i.Repository, err)
	}
	base, err := baseLayer()
	if err != nil {
		return "", err
	}
	own, err := i.layer()
	if err != nil {
		return "", err
	}
	config, err := json.Marshal(i.config(base.plain, own.plain))
	if err != nil {
		return "", err
	}
	const docker = "application/vnd.docker."
	const layerType = docker + "image.rootfs.diff.tar.gzip"
	manifest, err := json.Marshal(map[string]any{
		"schemaVersion": 2,
		"mediaType":     docker + "distribution.manifest.v2+json",
		"config":        blob(docker+"container.image.v1+json", config),
		"layers":        []any{blob(layerType, base.packed), blob(layerType, own.packed)},
	})
	if err != nil {
		return "", err
	}
	for _, content := range [][]byte{base.packed, own.packed, config} {
		if err := r.upload(ctx, bearer, i.Repository, content); err != nil {
			return "", err
		}
	}
	err = r.do(ctx, http.MethodPut, r.url("/v2/"+i.Repository+"/manifests/"+i.Tag), bearer,
		manifest, docker+"distribution.manifest.v2+json", http.StatusCreated, nil)
	return sha(manifest), err
}

// upload puts one blob into a repository.
func (r *Registry) upload(ctx context.Context, bearer, repository string, content []byte) error {
	var header http.Header
	err := r.do(ctx, http.MethodPost, r.url("/v2/"+repository+"/blobs/uploads/"), bearer,
		nil, "", http.StatusAccepted, &header)
	if err != nil {
		return err
	}
	location, err := url.Parse(r.url("/"))
	if err != nil {
		return err
	}
	if location, err = location.Parse(header.Get("Location")); err != nil {
		return err
	}
	query := location.Query()
	query.Set("digest", sha(content))
	location.RawQuery = query.Encode()
	return r.do(ctx, http.MethodPut, location.String(), bearer,
		content, "application/octet-stream", http.StatusCreated, nil)
}

// A layer of an image is a tar archive, packed with gzip.
type layer struct {
	plain  string // the digest of the archive
	packed []byte
}

// baseLayer is the same for all images: packed once, and pulled once by a host.
var baseLayer = sync.OnceValues(func() (layer, error) {
	file, err := exec.LookPath("busybox")
	if err != nil {
		return layer{}, err
	}
	busybox, err := os.ReadFile(file)
	if err != nil {
		return layer{}, err
	}
	var a archive
	for _, dir := range []string{"bin/", "etc/", "tmp/", "www/"} {
		a.add(tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755}, nil)
	}
	a.add(tar.Header{Name: "bin/busybox", Mode: 0o755}, busybox)
	for _, applet := range []string{"cat", "echo", "env", "httpd", "id", "ls", "sh", "sleep", "wget"} {
		a.add(tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + applet, Linkname: "busybox"}, nil)
	}
	a.add(tar.Header{Name: "etc/passwd", Mode: 0o644}, []byte("root:x:0:0:root:/:/bin/sh\n"))
	return a.layer()
})

// layer returns what one version of an image has over another.
func (i Image) layer() (layer, error) {
	var a archive
	a.add(tar.Header{Name: "www/index.html", Mode: 0o644}, []byte(i.Version+"\n"))
	a.add(tar.Header{Name: "version", Mode: 0o644}, []byte(i.Version+"\n"))
	if i.Ballast > 0 {
		ballast := make([]byte, i.Ballast)
		rand.Read(ballast)
		a.add(tar.Header{Name: "ballast", Mode: 0o644}, ballast)
	}
	return a.layer()
}

// An archive grows by what is added to it. Its first error is that of layer.
type archive struct {
	plain bytes.Buffer
	tar   *tar.Writer
	err   error
}

func (a *archive) add(header tar.Header, content []byte) {
	if a.tar == nil {
		a.tar = tar.NewWriter(&a.plain)
	}
	header.Size = int64(len(content))
	if a.err == nil {
		a.err = a.tar.WriteHeader(&header)
	}
	if a.err == nil {
		_, a.err = a.tar.Write(content)
	}
}

func (a *archive) layer() (layer, error) {
	if a.err == nil {
		a.err = a.tar.Close()
	}
	if a.err != nil {
		return layer{}, a.err
	}
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := w.Write(a.plain.Bytes()); err != nil {
		return layer{}, err
	}
	err := w.Close()
	return layer{sha(a.plain.Bytes()), packed.Bytes()}, err
}

// config returns the image's configuration.
func (i Image) config(layers ...string) any {
	type m = map[string]any
	command := []string{"/bin/httpd", "-f", "-p", "80", "-h", "/www"}
	if i.Shell != "" {
		command = []string{"/bin/sh", "-c", i.Shell}
	}
	labels := map[string]string{"version": i.Version}
	maps.Copy(labels, i.Labels)
	run := m{
		"Cmd":          command,
		"Env":          []string{"PATH=/bin", "VERSION=" + i.Version},
		"Labels":       labels,
		"ExposedPorts": m{"80/tcp": m{}},
		// As PID 1, httpd ignores SIGTERM; docker would wait ten seconds for it.
		"StopSignal": "SIGKILL",
	}
	page := "http://127.0.0.1/"
	if i.Broken {
		page += "missing"
	}
	// Healthy soon, and then hardly looked at any more: each look starts two programs.
	check := m{"Test": []string{"CMD", "/bin/wget", "-q", "-O", "/dev/null", page}}
	switch {
	case i.Broken:
		check["Interval"], check["Retries"] = time.Second, 2
		run["Healthcheck"] = check
	case i.Healthy:
		check["Interval"], check["StartPeriod"], check["StartInterval"] = time.Minute, time.Minute, 250*time.Millisecond
		run["Healthcheck"] = check
	}
	return m{
		"architecture": runtime.GOARCH,
		"os":           "linux",
		"config":       run,
		"rootfs":       m{"type": "layers", "diff_ids": layers},
		"history":      []any{m{"created_by": strings.Join(command, " ")}},
	}
}

// blob describes content in a manifest.
func blob(kind string, content []byte) any {
	return map[string]any{"mediaType": kind, "size": len(content), "digest": sha(content)}
}

func sha(content []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(content)) }
