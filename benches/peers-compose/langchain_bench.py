"""LangChain for Python on the same work as main.rs: prints `job micros` lines (CPU time per call)."""
import time

from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda


def measure(job, calls, call):
    for _ in range(calls // 10):
        call()
    start = time.process_time()
    for _ in range(calls):
        call()
    print(job, (time.process_time() - start) / calls * 1e6)


prompt = ChatPromptTemplate.from_messages([("system", "You are {role}."), ("human", "{q}")])
chain = prompt | FakeListChatModel(responses=["hello"]) | StrOutputParser()
given = {"role": "helper", "q": "hi there"}
measure("run", 500, lambda: chain.invoke(given))
measure("stream", 300, lambda: list(chain.stream(given)))
ten = RunnableLambda(lambda n: n)
for _ in range(9):
    ten = ten | RunnableLambda(lambda n: n)
measure("ten steps", 300, lambda: ten.invoke(1))
