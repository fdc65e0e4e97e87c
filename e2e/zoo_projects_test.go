package e2e_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// An animal is a deployment with a Compose project of its own kind. In its texts
// IMAGE stands for the image of its project.
type animal struct {
	name, host string
	project    string // the name, if it is empty
	settings   string // more lines of the inventory
	compose    string
	files      map[string]string
}

// A service that ends when /run/zoo/NAME/hold is gone, and whose health, of the
// versions that are not 1, is told when /run/zoo/NAME/ill is gone: then it has
// none if the version begins with 2.
const slow = `services:
  app:
    image: IMAGE
    init: false
    stop_signal: SIGTERM
    stop_grace_period: 2m
    volumes: ["/run/zoo/NAME:/gate"]
    command:
      - sh
      - -c
      - trap ':>/gate/stopping; while [ -e /gate/hold ]; do sleep 0.05; done; exit 0' TERM; while :; do sleep 1000 & wait; done
    healthcheck:
      test:
        - CMD-SHELL
        - |
          case $$(cat /version) in
          1) exit 0 ;;
          esac
          while [ -e /gate/ill ]; do sleep 0.05; done
          case $$(cat /version) in
          2*) echo the database is away; exit 1 ;;
          esac
      start_period: 1s
      start_interval: 250ms
      interval: 6s
      timeout: 1m
      retries: 1
`

// plain is a service with what its image says of health.
const plain = `services:
  app:
    image: IMAGE
`

// named is a project with a name of its own.
const named = "name: frobnicator\n" + plain

var zooAnimals = []animal{
	{name: "killed", settings: "rollback = true", compose: slow},
	{name: "stopped", compose: slow},
	{name: "cut", compose: slow},
	{name: "health-good", compose: slow},
	{name: "health-bad", compose: slow},
	{name: "health-back", settings: "rollback = true", compose: slow},

	{name: "seed", settings: "rollback = true", compose: plain + `  seed:
    image: IMAGE
    command: [sh, -c, "echo seeded"]
    healthcheck: {disable: true}
`},
	{name: "migrate", settings: "rollback = true", compose: `services:
  app:
    image: IMAGE
    depends_on:
      migrate: {condition: service_completed_successfully}
  migrate:
    image: IMAGE/migrate
`},
	{name: "unchecked", settings: "rollback = true", compose: plain + "    healthcheck: {disable: true}\n"},
	{name: "loop", settings: "rollback = true\nwait = \"8s\"", compose: plain + "    restart: always\n"},
	{name: "loop-plain", settings: "wait = \"8s\"", compose: plain + "    restart: always\n"},
	{name: "loop-checked", settings: "rollback = true\nwait = \"8s\"", compose: plain + "    restart: always\n"},
	{name: "ends", settings: "rollback = true\nwait = \"8s\"", compose: plain + "    restart: always\n"},

	{name: "pinned", settings: `rollback = true
override = "OVERRIDE"
parameters = { image = "IMAGE", tag = "one" }
`, compose: plain},

	{name: "many", project: "zoo/shared", settings: "rollback = true", compose: plain},
	{name: "neighbour", project: "zoo/shared", compose: plain},
	{name: "many-three", settings: "keep_images = 3", compose: plain},
	{name: "twin-a", project: "zoo/twin", settings: "rollback = true", compose: plain},
	{name: "twin-b", project: "zoo/twin", settings: "rollback = true", compose: plain},

	{name: "renamed", settings: "rollback = true", compose: "services:\n  old:\n    image: IMAGE\n"},
	{name: "own-name", compose: plain},
	{name: "built", compose: plain + `  built:
    image: zoo-built:1
    build: .
  foreign:
    image: registry.invalid/zoo-foreign:1
`, files: map[string]string{"Dockerfile": "FROM scratch\n"}},

	{name: "told", settings: "rollback = true\nlogs = 5", compose: talking},
	{name: "quiet", settings: "rollback = true", compose: talking},
	{name: "revision", compose: plain},
	{name: "unset", compose: plain},
	{name: "mixed", compose: plain + `    env_file: app.env
    volumes: ["./motto:/motto:ro"]
    deploy: {replicas: 2}
  debug:
    image: IMAGE
    profiles: [debug]
`, files: map[string]string{"app.env": "MOTTO=one\n", "motto": "one\n"}},

	{name: "versioned", settings: "rollback = true\nversion = \"TAG\"", compose: "services:\n  app:\n    image: IMAGE:${TAG}\n"},
	{name: "versioned-plain", settings: "version = \"TAG\"", compose: "services:\n  app:\n    image: IMAGE:${TAG}\n"},
	{name: "before", settings: "before = \"migrate\"", compose: plain + `  migrate:
    image: IMAGE/migrate
    profiles: [tools]
    volumes: ["/run/zoo/before:/gate"]
`},
	{name: "offline", settings: "rollback = true", compose: plain + `  seed:
    image: IMAGE
    command: [sh, -c, "echo seeded >>/gate/seeds"]
    volumes: ["/run/zoo/offline:/gate"]
    healthcheck: {disable: true}
`},
	{name: "store", host: "web2", settings: "rollback = true", compose: plain},
	{name: "store-migrate", host: "web2", settings: "rollback = true", compose: `services:
  app:
    image: IMAGE
    depends_on:
      migrate: {condition: service_completed_successfully}
  migrate:
    image: IMAGE/migrate
`},
	{name: "frob-production", host: "web3", project: "zoo/frob", compose: named},
	{name: "frob-staging", host: "web3", project: "zoo/frob", compose: named},
	{name: "alice", host: "web3", compose: plain},
	{name: "big", host: "web3", settings: "rollback = true", compose: plain},
}

// talking prints more lines than are told, and says why it is not healthy.
const talking = `services:
  app:
    image: IMAGE
    command:
      - sh
      - -c
      - for i in 1 2 3 4 5 6 7 8; do echo "token $$i of version $$(cat /version)"; done; exec httpd -f -p 80 -h /www
    healthcheck:
      test: [CMD-SHELL, "echo the database is away; [ $$(cat /version) != 2 ]"]
      start_period: 1s
      start_interval: 250ms
      interval: 6s
      timeout: 1m
      retries: 2
  other:
    image: IMAGE
    healthcheck: {disable: true}
`

// zooInventory is the inventory of some animals.
func zooInventory(override string, names []string) string {
	var b strings.Builder
	b.WriteString(head + `
[defaults.deployment]
host = "web1"
user = "zoo"
environment = "production"
wait = "60s"
`)
	hosts := map[string]bool{}
	for _, a := range zooAnimals {
		if !slices.Contains(names, a.name) {
			continue
		}
		if host := cmp.Or(a.host, "web1"); !hosts[host] {
			b.WriteString(strings.ReplaceAll(web1, "web1", host))
			hosts[host] = true
		}
		fmt.Fprintf(&b, "[deployments.%s]\n", a.name)
		if a.host != "" {
			fmt.Fprintf(&b, "host = %q\n", a.host)
		}
		fmt.Fprintf(&b, "project = %q\ndirectory = %[2]q\nvariables = { group = \"zoo\", prefix = \"%s_\" }\n",
			a.path(), a.name, strings.ToUpper(strings.ReplaceAll(a.name, "-", "_")))
		settings := strings.ReplaceAll(a.settings, "IMAGE", "registry.WORLD/"+a.path())
		b.WriteString(strings.ReplaceAll(settings, "OVERRIDE", override) + "\n")
	}
	return b.String()
}

func (a animal) path() string {
	if a.project != "" {
		return a.project
	}
	return "zoo/" + a.name
}

// zooFiles are the files of a project of an animal.
func zooFiles(project, image string) map[string]string {
	for _, a := range zooAnimals {
		if a.path() != project {
			continue
		}
		compose := strings.ReplaceAll(strings.ReplaceAll(a.compose, "IMAGE", image), "NAME", a.name)
		files := map[string]string{"compose.yaml": compose}
		for name, text := range a.files {
			files[name] = text
		}
		return files
	}
	return nil
}
