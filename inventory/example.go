package inventory

import "embed"

// Example has example.toml, the inventory that shows every key, and the files
// that it refers to.
//
//go:embed example.toml overrides
var Example embed.FS
