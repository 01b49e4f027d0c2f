import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/**
 * Asks Penstock for one answer, whole and then streamed, with nothing but the JDK (11 or newer).
 *
 * <pre>PENSTOCK_URL=http://127.0.0.1:3000 PENSTOCK_KEY=sk-... java PenstockSample.java [model]</pre>
 */
public class PenstockSample {
    private static final HttpClient CLIENT =
            HttpClient.newBuilder().connectTimeout(Duration.ofSeconds(5)).build();
    /** The first "content" text of an answer or event. A program of yours would use a JSON library. */
    private static final Pattern CONTENT = Pattern.compile("\"content\"\\s*:\\s*\"((?:[^\"\\\\]|\\\\.)*)\"");

    public static void main(String[] arguments) throws Exception {
        String model = arguments.length > 0 ? arguments[0] : "penstock-echo";

        HttpResponse<String> whole = CLIENT.send(chat(model, false), HttpResponse.BodyHandlers.ofString());
        if (whole.statusCode() != 200) {
            fail(whole, whole.body());
        }
        System.out.println("whole:    " + content(whole.body()));

        HttpResponse<Stream<String>> streamed = CLIENT.send(chat(model, true), HttpResponse.BodyHandlers.ofLines());
        try (Stream<String> lines = streamed.body()) {
            if (streamed.statusCode() != 200) {
                fail(streamed, String.join("\n", (Iterable<String>) lines::iterator));
            }
            System.out.print("streamed: ");
            boolean[] done = {false};
            lines.filter(line -> line.startsWith("data:")).map(line -> line.substring(5).strip()).forEach(data -> {
                if (data.equals("[DONE]")) {
                    done[0] = true;
                } else if (data.startsWith("{\"error\"")) {
                    throw new IllegalStateException("the stream broke: " + data);
                } else {
                    System.out.print(content(data));
                }
            });
            System.out.println();
            if (!done[0]) {
                throw new IOException("the stream ended without [DONE]");
            }
        }
    }

    private static HttpRequest chat(String model, boolean stream) {
        String body = "{\"model\":\"" + model + "\",\"stream\":" + stream + ",\"max_tokens\":32,"
                + "\"messages\":[{\"role\":\"user\",\"content\":\"Hello from Java\"}]}";
        return HttpRequest.newBuilder(URI.create(setting("PENSTOCK_URL") + "/v1/chat/completions"))
                .timeout(Duration.ofMinutes(2))
                .header("Authorization", "Bearer " + setting("PENSTOCK_KEY"))
                .header("Content-Type", "application/json")
                .POST(HttpRequest.BodyPublishers.ofString(body))
                .build();
    }

    private static String setting(String name) {
        String value = System.getenv(name);
        if (value == null || value.isEmpty()) {
            throw new IllegalStateException("set " + name);
        }
        return value;
    }

    private static String content(String json) {
        Matcher found = CONTENT.matcher(json);
        return found.find() ? found.group(1).replace("\\n", "\n").replace("\\\"", "\"").replace("\\\\", "\\") : "";
    }

    private static void fail(HttpResponse<?> response, String body) {
        String id = response.headers().firstValue("x-request-id").orElse("none");
        System.err.println("status " + response.statusCode() + ", request id " + id + ": " + body);
        System.exit(1);
    }
}
