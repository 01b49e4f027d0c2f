// The same things by the makers' SDKs for Node, and Vercel's `ai` in a loop of tools: node.mjs URL KEY MODEL...
//
// Prints a Markdown row for each; exits 1 where one fails.
import Anthropic from '@anthropic-ai/sdk';
import { createAnthropic } from '@ai-sdk/anthropic';
import { createGoogleGenerativeAI } from '@ai-sdk/google';
import { createOpenAI } from '@ai-sdk/openai';
import { GoogleGenAI } from '@google/genai';
import { generateText, stepCountIs, streamText, tool } from 'ai';
import assert from 'node:assert/strict';
import OpenAI from 'openai';
import { z } from 'zod';

const [url, key, ...models] = process.argv.slice(2);
const schema = {
  type: 'object', properties: { city: { type: 'string' } }, required: ['city'], additionalProperties: false,
};
const [hello, echo, use, wanted] = ['hello there', 'echo: hello there', 'use the tool', { city: 'mock' }];

const openai = new OpenAI({ apiKey: key, baseURL: `${url}/v1`, maxRetries: 0 });
const anthropic = new Anthropic({ apiKey: key, baseURL: url, maxRetries: 0 });
const gemini = new GoogleGenAI({ apiKey: key, httpOptions: { baseUrl: url } });
const functions = [{ type: 'function', function: { name: 'get_weather', parameters: schema } }];
const user = (content) => [{ role: 'user', content }];

const checks = {
  'openai: text': async (model) => {
    const answer = await openai.chat.completions.create({ model, messages: user(hello) });
    assert.equal(answer.choices[0].message.content, echo);
    assert.equal(answer.usage.completion_tokens, 3);
  },
  'openai: stream': async (model) => {
    const stream = openai.chat.completions.stream({ model, messages: user(hello) });
    assert.equal(await stream.finalContent(), echo);
  },
  'openai: tools, streamed': async (model) => {
    const stream = openai.chat.completions.stream({ model, messages: user(use), tools: functions });
    const { message } = (await stream.finalChatCompletion()).choices[0];
    assert.deepEqual(JSON.parse(message.tool_calls[0].function.arguments), wanted);
  },
  'openai: error': async (model) => {
    const asked = { model: `${model}-none`, messages: user('x') };
    const refused = await openai.chat.completions.create(asked).catch((e) => e);
    assert.ok(refused instanceof OpenAI.NotFoundError, `${refused}`);
    assert.equal(refused.code, 'model_not_found');
  },
  'openai, responses: text': async (model) => {
    const answer = await openai.responses.create({ model, input: hello });
    assert.equal(answer.output_text, echo);
  },
  'openai, responses: tools, streamed': async (model) => {
    const tools = [{ type: 'function', name: 'get_weather', parameters: schema, strict: true }];
    const answer = await openai.responses.stream({ model, input: use, tools }).finalResponse();
    const call = answer.output.find((item) => item.type === 'function_call');
    assert.deepEqual(JSON.parse(call.arguments), wanted);
  },
  'anthropic: text': async (model) => {
    const answer = await anthropic.messages.create({ model, max_tokens: 64, messages: user(hello) });
    assert.equal(answer.content[0].text, echo);
    assert.equal(answer.usage.output_tokens, 3);
  },
  'anthropic: tools, streamed': async (model) => {
    const tools = [{ name: 'get_weather', input_schema: schema }];
    const stream = anthropic.messages.stream({ model, max_tokens: 64, messages: user(use), tools });
    const call = (await stream.finalMessage()).content.find((block) => block.type === 'tool_use');
    assert.deepEqual(call.input, wanted);
  },
  'anthropic: error': async (model) => {
    const asked = { model: `${model}-none`, max_tokens: 64, messages: user('x') };
    const refused = await anthropic.messages.create(asked).catch((e) => e);
    assert.ok(refused instanceof Anthropic.NotFoundError, `${refused}`);
  },
  'google: text': async (model) => {
    const answer = await gemini.models.generateContent({ model, contents: hello });
    assert.equal(answer.text, echo);
  },
  'google: tools, streamed': async (model) => {
    const declared = { name: 'get_weather', description: 'd', parametersJsonSchema: schema };
    const config = { tools: [{ functionDeclarations: [declared] }] };
    const calls = [];
    for await (const event of await gemini.models.generateContentStream({ model, contents: use, config })) {
      calls.push(...(event.functionCalls ?? []));
    }
    assert.deepEqual(calls.map((call) => call.args), [wanted]);
  },
};

// Vercel's `ai`: a tool is called, its result sent back, and the model goes on.
const vercel = {
  'ai, openai': createOpenAI({ apiKey: key, baseURL: `${url}/v1` }).chat,
  'ai, openai responses': createOpenAI({ apiKey: key, baseURL: `${url}/v1` }).responses,
  'ai, anthropic': createAnthropic({ apiKey: key, baseURL: `${url}/v1` }),
  'ai, google': createGoogleGenerativeAI({ apiKey: key, baseURL: `${url}/v1beta` }),
};
for (const [name, provider] of Object.entries(vercel)) {
  for (const how of ['whole', 'streamed']) {
    checks[`${name}: tool loop, ${how}`] = async (model) => {
      const told = [];
      const tools = {
        get_weather: tool({
          description: 'd', inputSchema: z.object({ city: z.string() }),
          execute: async (input) => { told.push(input); return 'sunny'; },
        }),
      };
      const asked = { model: provider(model), prompt: use, tools, stopWhen: stepCountIs(3), maxRetries: 0 };
      const run = how === 'whole' ? await generateText(asked) : streamText(asked);
      assert.ok((await run.text).length > 0);
      assert.equal((await run.steps).length, 2);
      assert.deepEqual(told, [wanted]);
    };
  }
}

let failed = 0;
console.log(`\n## Node\n\n| | ${models.join(' | ')} |\n|---${'|---'.repeat(models.length)}|`);
for (const [name, check] of Object.entries(checks)) {
  const cells = [];
  for (const model of models) {
    cells.push(await check(model).then(() => 'works', (wrong) => {
      failed += 1;
      return `FAILS: ${String(wrong).slice(0, 300).replaceAll('\n', ' ')}`;
    }));
  }
  console.log(`| ${name} | ${cells.join(' | ')} |`);
}
process.exit(failed ? 1 : 0);
