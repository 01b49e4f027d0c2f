// Asks Penstock for one answer, whole and then streamed, with nothing but the standard library.
//
//	PENSTOCK_URL=http://127.0.0.1:3000 PENSTOCK_KEY=sk-... go run sample.go [model]
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

type message struct {
	Role    string `json:"role,omitempty"`
	Content string `json:"content"`
}

type request struct {
	Model     string    `json:"model"`
	Stream    bool      `json:"stream"`
	MaxTokens int       `json:"max_tokens"`
	Messages  []message `json:"messages"`
}

type answer struct {
	Choices []struct {
		Message message `json:"message"`
		Delta   message `json:"delta"`
	} `json:"choices"`
	Error *struct {
		Message string `json:"message"`
	} `json:"error"`
}

func main() {
	model := "penstock-echo"
	if len(os.Args) > 1 {
		model = os.Args[1]
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	for _, run := range []func(context.Context, string) error{whole, streamed} {
		if err := run(ctx, model); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

func whole(ctx context.Context, model string) error {
	response, err := chat(ctx, model, false)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var got answer
	if err := json.NewDecoder(response.Body).Decode(&got); err != nil {
		return err
	}
	if len(got.Choices) == 0 {
		return errors.New("an answer without a choice")
	}
	fmt.Println("whole:   ", got.Choices[0].Message.Content)
	return nil
}

func streamed(ctx context.Context, model string) error {
	response, err := chat(ctx, model, true)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	fmt.Print("streamed: ")
	lines := bufio.NewReader(response.Body)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return fmt.Errorf("the stream ended without [DONE]: %w", err)
		}
		if !strings.HasPrefix(line, "data:") {
			continue
		}
		data := strings.TrimSpace(strings.TrimPrefix(line, "data:"))
		if data == "[DONE]" {
			fmt.Println()
			return nil
		}
		var event answer
		if err := json.Unmarshal([]byte(data), &event); err != nil {
			return err
		}
		if event.Error != nil {
			return errors.New("the stream broke: " + event.Error.Message)
		}
		if len(event.Choices) > 0 {
			fmt.Print(event.Choices[0].Delta.Content)
		}
	}
}

func chat(ctx context.Context, model string, stream bool) (*http.Response, error) {
	body, err := json.Marshal(request{model, stream, 32, []message{{"user", "Hello from Go"}}})
	if err != nil {
		return nil, err
	}
	post, err := http.NewRequestWithContext(ctx, "POST", os.Getenv("PENSTOCK_URL")+"/v1/chat/completions", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	post.Header.Set("Authorization", "Bearer "+os.Getenv("PENSTOCK_KEY"))
	post.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(post)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		defer response.Body.Close()
		text, _ := io.ReadAll(response.Body)
		return nil, fmt.Errorf("status %d, request id %s: %s", response.StatusCode, response.Header.Get("x-request-id"), text)
	}
	return response, nil
}
