package dynamolocal

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/perdure-dev/perdure/localtest/process"
)

const (
	dockerImage   = "amazon/dynamodb-local"
	dockerPort    = 8000 // Inside the container.
	dockerTimeout = 10 * time.Second
	dockerGrace   = 10 * time.Second

	// dockerScript runs in the container. When the Docker client goes away, which is all that a
	// killed parent leaves time for, the container's standard input ends and so does the server.
	dockerScript = `exec 3<&0; (while read -r _ <&3; do :; done; kill $$) & ` +
		`exec java ` + maxHeap + ` -jar DynamoDBLocal.jar -inMemory -disableTelemetry 3<&- </dev/null`
)

// dockerLaunch runs the server in a container. Its errors say what is missing.
func dockerLaunch(ctx context.Context, opts Options) (launch, error) {
	docker, err := exec.LookPath("docker")
	if err != nil {
		return launch{}, errors.New("docker not found on PATH")
	}
	if err := runDocker(ctx, docker, "version", "--format", "{{.Server.Version}}"); err != nil {
		return launch{}, fmt.Errorf("docker engine not running: %w", err)
	}
	fmt.Fprintf(opts.Log, "starting DynamoDB Local (Docker image %s)\n", dockerImage)
	name := "perdure-dynamodb-" + strings.ToLower(rand.Text())
	return launch{
		source: SourceDocker,
		grace:  dockerGrace,
		command: func(port int) (*exec.Cmd, error) {
			cmd := exec.Command(docker, "run", "--rm", "--interactive", "--name", name,
				"--publish", fmt.Sprintf("127.0.0.1:%d:%d", port, dockerPort),
				"--entrypoint", "/bin/sh", dockerImage, "-c", dockerScript)
			// The pipe's other end is closed by the child's end or by this process's.
			if _, err := cmd.StdinPipe(); err != nil {
				return nil, err
			}
			return cmd, nil
		},
		// The client takes the container with it when it ends in good order. This is for when it
		// was killed.
		cleanup: func() error {
			err := runDocker(context.Background(), docker, "rm", "--force", name)
			if err != nil && (strings.Contains(err.Error(), "No such container") ||
				strings.Contains(err.Error(), "is already in progress")) {
				return nil
			}
			return err
		},
	}, nil
}

// runDocker runs one short command of the Docker client. Its error has what the client wrote.
func runDocker(ctx context.Context, docker string, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, dockerTimeout)
	defer cancel()
	var lines []string
	err := process.Run(ctx, exec.Command(docker, args...), func(line string) { lines = append(lines, line) })
	if err != nil {
		return fmt.Errorf("docker %s: %w (%s)", args[0], err, strings.Join(lines, " "))
	}
	return nil
}
