package config_test

import (
	"fmt"

	"github.com/redrive-dev/redrive/server/internal/config"
)

func ExampleDecode() {
	file := `version: 1
log: {level: inof}
subscriptions:
  - source: orders
    retry: {base: 100}
`
	_, err := config.Decode("redrive.yaml", []byte(file))
	fmt.Println(err)
	// Output:
	// redrive.yaml:2:14: log.level: "inof" is not one of debug, info, warn, error; did you mean "info"?
	// redrive.yaml:4:5: subscriptions[0].handler: is missing; add it, such as handler: {sink: discard}
	// redrive.yaml:5:19: subscriptions[0].retry.base: "100" has no unit; write a number with a unit out of ms, s, m, h, d, such as 30s
}

func ExampleLoaded_View() {
	l, err := config.Decode("redrive.yaml", []byte(`version: 1
brokers:
  prod: {type: nats, url: "nats://n:4222", token: {env: NATS_TOKEN}}
`))
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, v := range l.View(false).Values() {
		fmt.Println(v.Path, v.Value, v.Origin)
	}
	// Output:
	// version 1 redrive.yaml:1:1
	// brokers.prod.type nats redrive.yaml:3:10
	// brokers.prod.url nats://n:4222 redrive.yaml:3:22
	// brokers.prod.token [redacted] redrive.yaml:3:44
}

func ExampleSecret() {
	s := config.SecretFromValue("correct horse")
	fmt.Printf("%v %+v %q %#v\n", s, s, s, s)
	// Output: [redacted] [redacted] [redacted] [redacted]
}
