"""LangChain's agents, over its own adapters of three dialects: a tool is called and the model goes on.

Usage: langchain_loop.py URL KEY MODEL...
"""

import sys

from langchain_anthropic import ChatAnthropic
from langchain_core.tools import tool
from langchain_google_genai import ChatGoogleGenerativeAI
from langchain_openai import ChatOpenAI
from langgraph.prebuilt import create_react_agent
from tables import table


class LangChain:
    """LangChain, in a loop of tools."""

    def __init__(self, url, key):
        self._url, self._key = url, key

    def _loop(self, chat):
        told = []

        @tool
        def get_weather(city: str) -> str:
            """The weather of a city."""
            told.append(city)
            return "sunny"

        agent = create_react_agent(chat, [get_weather])
        messages = agent.invoke({"messages": [("user", "use the tool")]})["messages"]
        assert told == ["mock"] and messages[-1].content, messages
        events = list(agent.stream({"messages": [("user", "use the tool")]}, stream_mode="messages"))
        assert told == ["mock", "mock"] and events, events

    def openai(self, model):
        self._loop(ChatOpenAI(model=model, api_key=self._key, base_url=f"{self._url}/v1", max_retries=0))

    def openai_responses(self, model):
        chat = ChatOpenAI(
            model=model, api_key=self._key, base_url=f"{self._url}/v1", max_retries=0, use_responses_api=True
        )
        self._loop(chat)

    def anthropic(self, model):
        self._loop(ChatAnthropic(model=model, api_key=self._key, base_url=self._url, max_retries=0))

    def google(self, model):
        self._loop(ChatGoogleGenerativeAI(model=model, api_key=self._key, base_url=self._url, max_retries=0))


raise SystemExit(1 if table("LangChain", LangChain(*sys.argv[1:3]), sys.argv[3:]) else 0)
