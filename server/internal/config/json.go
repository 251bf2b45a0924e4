package config

import (
	"encoding/json"
	"fmt"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// nodeJSON writes the nodes that an encoder made as JSON, in their order.
func nodeJSON(n *yaml.Node) ([]byte, error) {
	switch n.Kind {
	case yaml.MappingNode:
		out := []byte{'{'}
		for i := 0; i+1 < len(n.Content); i += 2 {
			if i > 0 {
				out = append(out, ',')
			}
			key, err := json.Marshal(n.Content[i].Value)
			if err != nil {
				return nil, err
			}
			inner, err := nodeJSON(n.Content[i+1])
			if err != nil {
				return nil, err
			}
			out = append(append(append(out, key...), ':'), inner...)
		}
		return append(out, '}'), nil
	case yaml.SequenceNode:
		out := []byte{'['}
		for i, item := range n.Content {
			if i > 0 {
				out = append(out, ',')
			}
			inner, err := nodeJSON(item)
			if err != nil {
				return nil, err
			}
			out = append(out, inner...)
		}
		return append(out, ']'), nil
	case yaml.ScalarNode:
		return scalarJSON(n)
	case yaml.DocumentNode, yaml.AliasNode:
	}
	return nil, fmt.Errorf("no JSON for a YAML node of kind %d", n.Kind)
}

func scalarJSON(n *yaml.Node) ([]byte, error) {
	if n.Tag == "!!int" || n.Tag == "!!float" {
		f, err := strconv.ParseFloat(n.Value, 64)
		if err != nil {
			return nil, fmt.Errorf("no JSON for the number %q: %w", n.Value, err)
		}
		return json.Marshal(f)
	}
	return json.Marshal(n.Value)
}
