package dynamostore

import (
	"testing"
)

// template.yaml sets the variable to nothing, so that sam local invoke may set it to something.
func TestAnEmptyEndpointIsAWSsOwn(t *testing.T) {
	t.Setenv("AWS_ENDPOINT_URL_DYNAMODB", "")
	t.Setenv("AWS_REGION", "eu-central-1")
	client, err := LoadClient(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if endpoint := client.Options().BaseEndpoint; endpoint != nil {
		t.Errorf("the endpoint is %q, want none", *endpoint)
	}
}
