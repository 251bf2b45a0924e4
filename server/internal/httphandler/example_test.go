package httphandler_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/redrive-dev/redrive/failure"
	"github.com/redrive-dev/redrive/server/internal/httphandler"
)

func ExampleClient_Handle() {
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Println("attempt", r.Header.Get("Redrive-Attempt"), "of", r.Header.Get("Redrive-Max-Attempts"))
		http.Error(w, "field customer is missing", http.StatusUnprocessableEntity)
	}))
	defer endpoint.Close()

	client, err := httphandler.New(httphandler.Config{URL: endpoint.URL})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	err = client.Handle(context.Background(), httphandler.Request{
		Body: []byte(`{"id":1}`), ContentType: "application/json",
		Attempt: 1, MaxAttempts: 5, IdempotencyKey: "order-1",
	})
	fmt.Println(err)
	fmt.Println(failure.Classify(err).Category)

	if status, ok := errors.AsType[*httphandler.StatusError](err); ok {
		fmt.Println(status.Status)
	}
	// Output:
	// attempt 1 of 5
	// http 422: field customer is missing
	// schema
	// 422
}

// An endpoint for which 409 means "I have that already".
func ExampleConfig_statuses() {
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusConflict)
	}))
	defer endpoint.Close()

	client, err := httphandler.New(httphandler.Config{
		URL:      endpoint.URL,
		Auth:     httphandler.Auth{Bearer: httphandler.Static("a token")},
		Statuses: map[string]string{"409": "done", "4xx": "business"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	fmt.Println(client.Handle(context.Background(), httphandler.Request{Attempt: 1}))
	// Output: <nil>
}

func ExampleConfig_Validate() {
	err := httphandler.Config{
		URL:      "http://user:pass@localhost/orders",
		Statuses: map[string]string{"404": "ignore"},
	}.Validate()
	fmt.Println(err)
	// Output:
	// url: contains credentials; put them under auth
	// statuses: "404" has the unknown category "ignore"; want one of done, transient, transient-local, throttled, schema, business, integration, quarantine
}
