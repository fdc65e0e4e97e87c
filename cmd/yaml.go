package cmd

import (
	"io"

	"go.yaml.in/yaml/v3"
)

// writeYAML writes a document.
func writeYAML(w io.Writer, n *yaml.Node) error {
	encoder := yaml.NewEncoder(w)
	encoder.SetIndent(2)
	if err := encoder.Encode(n); err != nil {
		return err
	}
	return encoder.Close()
}

// yamlMap returns a mapping of keys and values, in that order.
func yamlMap(pairs ...any) *yaml.Node { return yamlAdd(&yaml.Node{Kind: yaml.MappingNode}, pairs...) }

// yamlList returns a sequence.
func yamlList(values ...any) *yaml.Node {
	n := yamlAdd(&yaml.Node{Kind: yaml.SequenceNode}, values...)
	if len(values) == 0 {
		n.Style = yaml.FlowStyle
	}
	return n
}

func yamlAdd(n *yaml.Node, values ...any) *yaml.Node {
	for _, v := range values {
		n.Content = append(n.Content, yamlValue(v))
	}
	return n
}

// yamlValue returns a value as the library would write it.
func yamlValue(value any) *yaml.Node {
	if n, ok := value.(*yaml.Node); ok {
		return n
	}
	n := new(yaml.Node)
	if err := n.Encode(value); err != nil {
		panic(err) // strings, numbers and booleans only
	}
	return n
}
