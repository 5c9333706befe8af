"""Stands in for a Qdrant server in Katena's tests: the gRPC calls that QdrantStore makes.

Wire format, conversions and search are Qdrant's own, from its Python client and the engine inside that ("local mode"):
exact search in one process, no HNSW index, no write-ahead log, no cluster. What passes here has not been shown to pass
on the server.

    python3 qdrant_substitute.py 127.0.0.1:PORT :memory: [API_KEY]     (needs qdrant-requirements.txt)

Ready when the port takes connections; ends on SIGTERM.
"""

import sys
import threading
import time
from concurrent import futures

import grpc
from qdrant_client import QdrantClient
from qdrant_client import grpc as wire
from qdrant_client.conversions.conversion import GrpcToRest, RestToGrpc
from qdrant_client.grpc import collections_service_pb2_grpc, points_service_pb2_grpc, qdrant_pb2_grpc
from qdrant_client.http.models import UpdateResult

# The engine is not made for several threads.
LOCK = threading.Lock()
MAX_MESSAGE = 32 << 20


def status_of(error):
    text = str(error)
    if "not found" in text or "doesn't exist" in text:
        return grpc.StatusCode.NOT_FOUND
    if "already exists" in text:
        return grpc.StatusCode.ALREADY_EXISTS
    return grpc.StatusCode.INVALID_ARGUMENT


def call(method):
    """Runs one call at a time and turns the engine's exceptions into gRPC statuses."""

    def run(self, request, context):
        try:
            with LOCK:
                begun = time.monotonic()
                answer = method(self, request)
                answer.time = time.monotonic() - begun
                return answer
        except NotImplementedError as error:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, str(error) or method.__name__)
        except Exception as error:
            context.abort(status_of(error), str(error))

    return run


def optional(message, field, convert):
    return convert(getattr(message, field)) if message.HasField(field) else None


def payload_wanted(request, default):
    return GrpcToRest.convert_with_payload_selector(request.with_payload) if request.HasField("with_payload") else default


def vectors_wanted(request):
    return bool(optional(request, "with_vectors", GrpcToRest.convert_with_vectors_selector))


def retrieved(point):
    point.payload = point.payload or {}
    return RestToGrpc.convert_record(point)


def updated(result):
    return wire.PointsOperationResponse(result=RestToGrpc.convert_update_result(result))


class Health(qdrant_pb2_grpc.QdrantServicer):
    def HealthCheck(self, request, context):
        return wire.HealthCheckReply(title="substitute for a Qdrant server", version="1.20.0")


class Collections(collections_service_pb2_grpc.CollectionsServicer):
    def __init__(self, engine):
        self.engine = engine

    @call
    def List(self, request):
        names = [wire.CollectionDescription(name=c.name) for c in self.engine.get_collections().collections]
        return wire.ListCollectionsResponse(collections=names)

    @call
    def Get(self, request):
        info = self.engine.get_collection(request.collection_name)
        return wire.GetCollectionInfoResponse(result=RestToGrpc.convert_collection_info(info))

    @call
    def CollectionExists(self, request):
        exists = self.engine.collection_exists(request.collection_name)
        return wire.CollectionExistsResponse(result=wire.CollectionExists(exists=exists))

    @call
    def Create(self, request):
        done = self.engine.create_collection(
            request.collection_name,
            vectors_config=optional(request, "vectors_config", GrpcToRest.convert_vectors_config) or {},
            sparse_vectors_config=optional(request, "sparse_vectors_config", GrpcToRest.convert_sparse_vector_config),
        )
        return wire.CollectionOperationResponse(result=done)

    @call
    def Delete(self, request):
        if not self.engine.collection_exists(request.collection_name):
            return wire.CollectionOperationResponse(result=False)
        return wire.CollectionOperationResponse(result=self.engine.delete_collection(request.collection_name))


class Points(points_service_pb2_grpc.PointsServicer):
    def __init__(self, engine):
        self.engine = engine

    @call
    def Upsert(self, request):
        points = [GrpcToRest.convert_point_struct(point) for point in request.points]
        return updated(self.engine.upsert(request.collection_name, points))

    @call
    def Delete(self, request):
        selector = GrpcToRest.convert_points_selector(request.points)
        return updated(self.engine.delete(request.collection_name, selector))

    @call
    def Get(self, request):
        points = self.engine.retrieve(
            request.collection_name,
            [GrpcToRest.convert_point_id(point) for point in request.ids],
            with_payload=payload_wanted(request, False),
            with_vectors=vectors_wanted(request),
        )
        return wire.GetResponse(result=[retrieved(point) for point in points])

    @call
    def CreateFieldIndex(self, request):
        # The engine filters without an index; the collection must be there all the same.
        self.engine.get_collection(request.collection_name)
        return updated(UpdateResult(operation_id=0, status="completed"))

    @call
    def Scroll(self, request):
        points, following = self.engine.scroll(
            request.collection_name,
            scroll_filter=optional(request, "filter", GrpcToRest.convert_filter),
            limit=request.limit if request.HasField("limit") else 10,
            offset=optional(request, "offset", GrpcToRest.convert_point_id),
            with_payload=payload_wanted(request, True),
            with_vectors=vectors_wanted(request),
        )
        answer = wire.ScrollResponse(result=[retrieved(point) for point in points])
        if following is not None:
            answer.next_page_offset.CopyFrom(RestToGrpc.convert_extended_point_id(following))
        return answer

    @call
    def Count(self, request):
        wanted = optional(request, "filter", GrpcToRest.convert_filter)
        count = self.engine.count(request.collection_name, count_filter=wanted, exact=True).count
        return wire.CountResponse(result=wire.CountResult(count=count))

    @call
    def Query(self, request):
        query = GrpcToRest.convert_query_points(request)
        found = self.engine.query_points(
            request.collection_name,
            query=query.query,
            using=query.using,
            query_filter=query.filter,
            limit=query.limit or 10,
            offset=query.offset,
            with_payload=query.with_payload or False,
            with_vectors=query.with_vector or False,
            score_threshold=query.score_threshold,
        )
        return wire.QueryResponse(result=[RestToGrpc.convert_scored_point(point) for point in found.points])


class KeyCheck(grpc.ServerInterceptor):
    def __init__(self, key):
        self.key = key

    def intercept_service(self, continuation, details):
        if self.key and dict(details.invocation_metadata).get("api-key") != self.key:

            def refuse(request, context):
                context.abort(grpc.StatusCode.UNAUTHENTICATED, "Must provide an API key or an Authorization bearer token")

            return grpc.unary_unary_rpc_method_handler(refuse)
        return continuation(details)


def main():
    address, place = sys.argv[1:3]
    key = sys.argv[3] if len(sys.argv) > 3 else None
    engine = QdrantClient(":memory:") if place == ":memory:" else QdrantClient(path=place)
    server = grpc.server(
        futures.ThreadPoolExecutor(8),
        interceptors=[KeyCheck(key)],
        options=[("grpc.max_receive_message_length", MAX_MESSAGE)],
    )
    qdrant_pb2_grpc.add_QdrantServicer_to_server(Health(), server)
    collections_service_pb2_grpc.add_CollectionsServicer_to_server(Collections(engine), server)
    points_service_pb2_grpc.add_PointsServicer_to_server(Points(engine), server)
    if not server.add_insecure_port(address):
        sys.exit(f"can't listen on {address}")
    server.start()
    print("listening on", address, flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main()
