package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/perdure-dev/perdure/localtest/stack"
)

// One clear line for whatever is wrong, and nothing half written.
func TestWhatIsWrongIsToldInOneLine(t *testing.T) {
	t.Parallel()
	w := start(t, stack.Options{NoSchedules: true})
	done(t, w.env, "enqueue", "count_words", "--input", `"x"`, "--id", "there", "--delay", "1h")
	done(t, w.env, "enqueue", "await_payment", "--input", `"order 1"`)
	broken := filepath.Join(t.TempDir(), "broken.jsonl")
	if err := os.WriteFile(broken, []byte("\"a\"\n{\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	large, long := filepath.Join(t.TempDir(), "large"), filepath.Join(t.TempDir(), "long")
	for name, size := range map[string]int{large: 7_000_000, long: 20_000_000} {
		if err := os.WriteFile(name, []byte(`"`+strings.Repeat("x", size)+`"`), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	texts := t.TempDir()
	file := func(name, text string) string {
		name = filepath.Join(texts, name)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	noTable := []string{"PERDURE_TABLE=nowhere"}
	down := []string{"AWS_ENDPOINT_URL_DYNAMODB=http://127.0.0.1:1", "AWS_ENDPOINT_URL_LAMBDA=http://127.0.0.1:1", "AWS_MAX_ATTEMPTS=1"}
	nonsense := []string{"AWS_ENDPOINT_URL_DYNAMODB=", "AWS_ENDPOINT_URL_LAMBDA=", "AWS_ENDPOINT_URL=nonsense"}
	before := w.Meter.Total().Write
	for _, test := range []struct {
		args string
		env  []string
		exit int
		says string
	}{
		{"frobnicate", nil, 2, `unknown command "frobnicate"`},
		{"lst", nil, 2, `unknown command "lst": did you mean get or list?`},
		{"get esc\x1b[31mred", nil, 6, `get execution esc\x1b[31mred: execution not found`}, // a terminal would obey it
		{"get", nil, 2, "get takes one execution id: see perdure get --help"},
		{"get there --colour", nil, 2, "unknown flag: --colour: did you mean --color?"},
		{"get there --shape x", nil, 2, "unknown flag: --shape: see perdure get --help"},
		{"help lst", nil, 2, `unknown command "lst": did you mean get or list?`}, // it showed the whole help, and succeeded
		{"help frobnicate", nil, 2, `unknown command "frobnicate"`},
		{"completion tcsh", nil, 2, `unknown command "tcsh"`},
		{"completion bash x", nil, 2, `bash takes no arguments, not "x"`},
		{"run shop", nil, 2, `run takes no arguments, not "shop"`},
		{"list --limit x", nil, 2, `--limit is "x": it must be a whole number`}, // not strconv.ParseInt
		{"list --limit 99999999999999999999", nil, 2, "a whole number within the range of 64 bits"},
		{"wait there --timeout 5", nil, 2, `--timeout is "5": it must be a duration, as in 90s or 5m`},
		{"enqueue count_words --wait=maybe", nil, 2, `--wait is "maybe": it must be true or false`},
		{"get there --color blue", nil, 2, `--color is "blue"`},
		{"get there --endpoint-url localhost:8000", nil, 2, "it must be a URL"},
		{"get there --endpoint-url http://127.0.0.1:99999", nil, 2, "it must be a URL"}, // it asked whether perdure run is running
		{"get there --endpoint-url http://:8000", nil, 2, "it must be a URL"},
		{"get there --profile nobody", nil, 2, "nobody: check --profile, AWS_PROFILE"},
		{"get nobody", nil, 6, "get execution nobody: execution not found"},
		{"get there", noTable, 1, "table not found: nowhere in us-east-1"},
		{"get there", []string{"PERDURE_TABLE="}, 2, "which table?"},
		{"get there", down, 1, "DynamoDB does not answer for table"},
		{"get there", []string{"AWS_ENDPOINT_URL_DYNAMODB=", "AWS_REGION="}, 2, "which region?"},
		{"get there", []string{"PERDURE_RETENTION_DAYS=ever"}, 2, "PERDURE_RETENTION_DAYS"},
		{"get there --output", nil, 7, "execution there is ready"},
		{"tree nobody", nil, 6, "execution not found"},
		{"tree there --depth -1", nil, 2, "neither may be negative"},
		{"list", nil, 1, "deploy with the parameter ListIndex"},
		{"list --status odd", nil, 2, `Status "odd" is none of`},
		{"list --limit 0", nil, 2, "--limit is 0"},
		{"list --since soon", nil, 2, `--since is "soon"`},
		{"list --since 1h --until 2h", nil, 2, "is not after Since"},
		{"list --after junk", nil, 2, `After "junk" is not the Next of a page`},
		{"wait nobody", nil, 6, "execution not found"},
		{"wait there --timeout -1s", nil, 2, "must not be negative"},
		{"wait there --timeout 10ms", nil, 7, "--timeout is over"},
		{"wait there", down, 1, "DynamoDB does not answer"},
		{"cancel nobody", nil, 6, "execution not found"},
		{"cancel a b", nil, 2, `cancel takes one execution id, not "a" "b"`},
		{"wakeup await_payment", nil, 2, `wakeup takes a task and a key, not "await_payment"`},
		{"wakeup await_payment k", nil, 2, "--output or --failure, one of them"},
		{"wakeup await_payment k --output x", nil, 2, "--output is not valid JSON"},
		{"wakeup await_payment k --output @nowhere", nil, 2, "no such file"},
		{"wakeup await_payment k --output 1", nil, 2, "output of task await_payment"}, // the function knows the type
		{"wakeup a/b k --output 1 --function=", nil, 2, `task id "a/b"`},
		{"wakeup pay k --output 1 --function nothing", nil, 1, "there is no function nothing"},
		{"redrive", nil, 2, "redrive what?"},
		{"redrive nobody", nil, 6, "execution not found"},
		{"redrive there", nil, 1, "redrive not allowed"},
		{"redrive there --status failed", nil, 2, "ids or a filter, not both"},
		{"redrive --status completed", nil, 2, `--status is "completed"`},
		{"redrive --status failed --since soon", nil, 2, `--since is "soon"`},
		{"redrive --status failed", nil, 1, "deploy with the parameter ListIndex"},
		{"enqueue", nil, 2, "enqueue takes one task"},
		{"enqueue count_words --input x", nil, 2, `--input is not valid JSON: line 1, column 1: invalid character 'x' looking for beginning of value (a text needs its quotes`},
		{`enqueue count_words --input {"a":1,}`, nil, 2, "line 1, column 8: invalid character '}' looking for beginning of object key string\n"}, // no talk of quotes
		{`enqueue count_words --input {"a":1`, nil, 2, "line 1, column 7: unexpected end of JSON input"},
		{"enqueue count_words --input @" + file("broken.json", "{\n \"ä\": 1,\n \"ö\": [1,,2]\n}\n"), nil, 2, "line 3, column 10: invalid character ','"},
		{"enqueue count_words --input @" + file("latin1.json", "[1,\n\"caf\xe9\"]"), nil, 2, "line 2, column 5: byte 0xe9 is not UTF-8"}, // it was made another letter
		{"enqueue count_words --input @", nil, 2, "a file's name must follow the @"},
		{"enqueue count_words --input 1 --id x --key y", nil, 2, "--id and --key cannot be used together"},
		{"enqueue count_words --input 1 --delay 1s --start-at 2026-11-24T18:00:00Z", nil, 2, "--delay and --start-at cannot be used together"},
		{"enqueue count_words --input 1 --delay -1s", nil, 2, "--delay is -1s: it must not be negative"},
		{"enqueue count_words --input 1 --max-attempts 0", nil, 2, "--max-attempts is 0: it must be at least 1"}, // it was one attempt
		{"enqueue count_words --input 1 --timeout 0", nil, 2, "--timeout is 0s: it must be at least 1ms"},
		{"enqueue count_words --input 1 --start-to-finish 0", nil, 2, "--start-to-finish is 0s: it must be at least 1ms"}, // the task's was taken
		{"enqueue count_words --input 1 --retry-multiplier NaN", nil, 2, "--retry-multiplier is NaN: it must be a number"},
		{"enqueue count_words --input 1 --retry-multiplier 0", nil, 2, "--retry-multiplier is 0"},
		{"enqueue count_words --input @/dev/null", nil, 2, "--input has nothing in it"},
		{"enqueue count_words --input 1", nil, 2, "input of task count_words"},
		{"enqueue nothing --input 1", nil, 2, `unknown task "nothing"`},
		{"enqueue count_words --input 1 --function=", nil, 2, "which enqueue function?"},
		{"enqueue count_words --input 1", down, 1, "invoke function enqueue"},
		{"enqueue count_words --input \"x\" --id there", nil, 1, "already exists: run perdure get there to see it, or choose another --id"},
		{"enqueue count_words --input 1 --direct", nil, 2, "--direct needs --timeout"},
		{"enqueue count_words --input 1 --direct --timeout 1s --max-attempts 2000", nil, 2, "MaxAttempts is 2000"},
		{`enqueue count_words --input "x" --timeout 10m`, nil, 2, "no executor has more than 26s for an attempt: shorten it, or raise the timeout of the functions"},
		{`enqueue count_words --input "x" --timeout 26001ms`, nil, 2, "Timeout is 26.001s"},
		{"enqueue count_words --input 1 --timeout 500us", nil, 2, "--timeout is 500µs: it must be whole milliseconds"},
		{"enqueue count_words --input 1 --max-attempts 2 --retry-delay 1us", nil, 2, "--retry-delay is 1µs: it must be whole milliseconds"},
		{"enqueue count_words --input 1 --schedule-to-start -1s", nil, 2, "--schedule-to-start is -1s: it must be at least 1ms"},
		{"enqueue await_payment --input 1 --direct --timeout 1s --sleeping", nil, 2, "is its key"},
		{"enqueue await_payment --input \"order 1\" --direct --timeout 1s --sleeping", nil, 1, "already exists"},
		{"enqueue count_words --start-at noon", nil, 2, `--start-at is "noon"`},
		{"enqueue count_words --each nowhere", nil, 2, "no such file"},
		{"enqueue count_words --each " + long, nil, 2, "line 1 has over 16777216 bytes: nothing was enqueued"},
		{"enqueue count_words --each /dev/null", nil, 0, "there are no lines: nothing was enqueued"},
		{"enqueue count_words --input @" + large, nil, 2, "over Lambda's limit of 6 MB"},
		{"enqueue count_words --input 1", []string{"AWS_ENDPOINT_URL_LAMBDA=", "AWS_REGION=us-east-1"}, 1, "no credentials for function enqueue"},
		{"enqueue count_words --each " + broken, nil, 2, "line 2, column 2 is not valid JSON, so nothing was enqueued: unexpected end"},
		{"enqueue count_words --each " + broken + " --wait", nil, 2, "--each does not go with"},
		{"enqueue count_words --key-prefix x", nil, 2, "--key-prefix is for --each"},
		{"enqueue count_words", nil, 2, "the input is missing"},
		{"enqueue count_words --direct --timeout 1s", nil, 2, "--direct needs --input"},
		{"enqueue count_words --input \"x\" --id=", nil, 2, "--id is empty"},
		{"enqueue count_words --input \"x\" --key=", nil, 2, "--key is empty"},
		{"enqueue count_words --each=", nil, 2, "--each is empty"},
		{"enqueue count_words --each /dev/null --key-prefix=", nil, 2, "--key-prefix is empty"},
		{"enqueue count_words --input \"x\" --start-at=", nil, 2, "--start-at is empty"},
		{"enqueue count_words --input \"x\" --delay 1us", nil, 2, "--delay is 1µs: it must be whole milliseconds"},
		{"enqueue count_words --input \"x\" --delay 1", nil, 2, "as in 90s or 5m"},
		{"enqueue count_words --input \"x\" --wait-timeout 1s", nil, 2, "--wait-timeout is for --wait"},
		{"enqueue count_words --input \"x\" --table nosuch", nil, 2, "the request is for table nosuch, and this function's is " + w.Table},
		{"enqueue count_words --each " + broken + " --table nosuch", nil, 2, "line 2, column 2 is not valid JSON"},
		{"wakeup await_payment k --output 1 --table nosuch", nil, 1, "table not found: nosuch"},
		{"wakeup await_payment k --failure=", nil, 2, "--failure is empty"},
		{"wakeup await_payment k --output 1 --failure=", nil, 2, "--failure is empty"},
		{"wakeup await_payment k", []string{"PERDURE_TABLE=nowhere"}, 2, "--output or --failure, one of them"},
		{"redrive --status failed --task=", nil, 2, "--task is empty"}, // a script's variable that is not set: all tasks were meant
		{"list --status=", nil, 2, "--status is empty"},
		{"get there --region=", nil, 2, "--region is empty"},
		{"get " + strings.Repeat("x", 256), nil, 2, "at most 255 bytes"},
		{"get there", nonsense, 2, `the endpoint of DynamoDB is "nonsense": it must be a URL`},
		{"enqueue count_words --input 1", nonsense, 2, `the endpoint of Lambda is "nonsense": it must be a URL`},
		{"tasks", nonsense, 2, "correct AWS_ENDPOINT_URL_LAMBDA, AWS_ENDPOINT_URL or the profile"},
		{"doctor", nonsense, 2, `the endpoint of DynamoDB is "nonsense"`},
		{"doctor", []string{"AWS_ENDPOINT_URL_SQS=ftp://x"}, 2, `the endpoint of SQS is "ftp://x"`},
		{"tasks", down, 1, "Lambda does not answer in us-east-1 at http://127.0.0.1:1: check the network and AWS_ENDPOINT_URL_LAMBDA"},
		{"get there --region eu/central", nil, 2, `the region is "eu/central"`},
		{"get there", down, 1, "(is perdure run running?)"},
		{"tasks --function=", nil, 2, "which enqueue function?"},
		{"tasks --function nosuch", nil, 1, "there is no function nosuch"},
		{"tasks --table nosuch", nil, 2, "the request is for table nosuch"},
		{"doctor", down, 1, "DynamoDB does not answer for table"},
		{"tasks --function startready", nil, 1, "function startready answers what the enqueue function does not"},
		{"enqueue count_words --input \"x\" --function startready", nil, 1, "name that by --function"}, // it printed an empty line
		{"enqueue k --input \"x\" --direct --timeout 1s --sleeping --max-attempts 2", nil, 2, "a sleep has no attempts"},
		{"enqueue count_words --input \"x\" --retention-days 1", nil, 2, "--retention-days is for --direct"},
		{"cancel there --retention-days -5", nil, 2, "--retention-days is -5: it must be from 0 to 3650"},
		{"cancel there", []string{"PERDURE_RETENTION_DAYS=999999999"}, 2, "from 0 to 3650"},
		{"redrive - there", nil, 2, "not both"},
		{"run --host localhost", nil, 2, `--host is "localhost"`},
		{"--version x", nil, 2, `unknown command "x"`},
		{"doctor", []string{"PERDURE_TABLE="}, 2, "which table?"},
		{"doctor", noTable, 1, "table not found"},
		{"doctor", down, 1, "describe table"},
		{"queues", noTable, 1, "table not found"},
		{"queues x", nil, 2, `queues takes no arguments, not "x"`},
		{"version x", nil, 2, `version takes no arguments, not "x"`},
	} {
		args := strings.Fields(strings.ReplaceAll(test.args, "\"order 1\"", "\"order\x001\""))
		for i := range args {
			args[i] = strings.ReplaceAll(args[i], "\x00", " ")
		}
		t.Run(test.args, func(t *testing.T) {
			o := perdure(t, append(w.env[:len(w.env):len(w.env)], test.env...), args...)
			if o.exit != test.exit || o.stdout != "" || strings.Count(o.stderr, "\n") != 1 || !strings.Contains(o.stderr, test.says) ||
				!strings.HasPrefix(o.stderr, "perdure: ") {
				t.Errorf("exit code %d, want %d and one line that says %q\n%s%s", o.exit, test.exit, test.says, o.stdout, o.stderr)
			}
		})
	}
	if written := w.Meter.Total().Write - before; written > 3 {
		// A put of an id that is taken is refused, which is billed: by the function, and twice directly.
		t.Errorf("%v write units were consumed", written)
	}
}

func TestErrorsAreJSONForScripts(t *testing.T) {
	t.Parallel()
	w := start(t, stack.Options{NoSchedules: true})
	o := perdure(t, w.env, "get", "nobody", "--json")
	var got struct {
		Error struct{ Code, Message string }
	}
	if err := json.Unmarshal([]byte(o.stderr), &got); err != nil || got.Error.Code != "not_found" || o.exit != 6 || o.stdout != "" {
		t.Errorf("exit code %d, error %v, %+v", o.exit, err, got)
	}
}

func TestEveryCommandHasHelpWithExamples(t *testing.T) {
	t.Parallel()
	help := done(t, nil, "--help")
	_, list, _ := strings.Cut(help, "Available Commands:\n")
	list, _, _ = strings.Cut(list, "\n\n")
	commands := 0
	for line := range strings.Lines(list) {
		name := strings.Fields(line)[0]
		if name == "help" || name == "completion" {
			continue
		}
		commands++
		if text := done(t, nil, name, "--help"); !strings.Contains(text, "Examples:\n  perdure "+name) || strings.Contains(text, "(default )") {
			t.Errorf("%s has no example, or a default that is nothing:\n%s", name, text)
		}
	}
	if commands < 9 {
		t.Errorf("%d commands:\n%s", commands, list)
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if !strings.Contains(done(t, nil, "completion", shell), "perdure") {
			t.Errorf("no completion for %s", shell)
		}
	}
}
