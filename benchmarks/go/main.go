// Command main is the loop that many users write in Go: it reads an NDJSON file and posts each line
// from a number of goroutines over one http.Transport, reading every answer to its end.
//
// The last line on stdout is {"delivered": n, "failed": n, "seconds": s}.
package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

func main() {
	file := flag.String("file", "", "NDJSON file")
	url := flag.String("to", "", "URL to post each line to")
	workers := flag.Int("workers", 64, "goroutines that post")
	useDefault := flag.Bool("default", false, "use the settings of http.DefaultTransport")
	useHTTP2 := flag.Bool("http2", false, "speak HTTP/2, in cleartext without asking")
	cacert := flag.String("cacert", "", "PEM file with the authority to trust")
	flag.Parse()

	client := &http.Client{Transport: newTransport(*useDefault, *useHTTP2, *workers, trust(*cacert))}
	lines := make(chan []byte, *workers)
	var delivered, failed atomic.Int64
	var group sync.WaitGroup
	started := time.Now()
	for range *workers {
		group.Add(1)
		go func() {
			defer group.Done()
			for line := range lines {
				if err := post(client, *url, line); err != nil {
					failed.Add(1)
				} else {
					delivered.Add(1)
				}
			}
		}()
	}
	if err := read(*file, lines); err != nil {
		log.Fatal(err)
	}
	close(lines)
	group.Wait()
	fmt.Printf("{\"delivered\": %d, \"failed\": %d, \"seconds\": %.6f}\n",
		delivered.Load(), failed.Load(), time.Since(started).Seconds())
}

func newTransport(useDefault, useHTTP2 bool, workers int, config *tls.Config) *http.Transport {
	if useDefault {
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.TLSClientConfig = config
		return transport
	}
	transport := &http.Transport{
		MaxIdleConns:        max(100, workers),
		MaxIdleConnsPerHost: max(100, workers),
		IdleConnTimeout:     90 * time.Second,
		TLSClientConfig:     config,
	}
	if useHTTP2 {
		transport.ForceAttemptHTTP2 = true
		transport.Protocols = new(http.Protocols)
		transport.Protocols.SetHTTP2(true)
		transport.Protocols.SetUnencryptedHTTP2(true)
	}
	return transport
}

func trust(path string) *tls.Config {
	if path == "" {
		return nil
	}
	pem, err := os.ReadFile(path)
	if err != nil {
		log.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		log.Fatalf("no certificate in %s", path)
	}
	return &tls.Config{RootCAs: pool}
}

func read(path string, lines chan<- []byte) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	scanner := bufio.NewScanner(file)
	scanner.Buffer(make([]byte, 64*1024), 16*1024*1024)
	for scanner.Scan() {
		lines <- bytes.Clone(scanner.Bytes())
	}
	return scanner.Err()
}

func post(client *http.Client, url string, line []byte) error {
	response, err := client.Post(url, "application/json", bytes.NewReader(line))
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode/100 != 2 {
		return fmt.Errorf("status %d", response.StatusCode)
	}
	return nil
}
