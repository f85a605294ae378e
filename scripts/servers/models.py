"""A server of the Open Inference Protocol with one model, anomaly: how unusual the two readings of a machine are, a temperature and a vibration.

models.py PORT. inference_pb2 is made of internal/model/inference/inference.proto by grpc_tools.protoc.
"""

import sys
from concurrent import futures

import grpc
import inference_pb2 as pb
import numpy
from sklearn.ensemble import IsolationForest

# 2,000 readings of machines that are well.
usual = numpy.random.default_rng(1).normal([60, 0.3], [5, 0.05], (2000, 2))
model = IsolationForest(random_state=1).fit(usual)


def infer(request, context):
    if request.model_name != "anomaly":
        context.abort(grpc.StatusCode.NOT_FOUND, "there is no model " + request.model_name)
    readings = numpy.frombuffer(request.raw_input_contents[0], numpy.float32).reshape(request.inputs[0].shape)
    score = -model.score_samples(readings)  # near 1 if they are unusual
    reply = pb.ModelInferResponse(model_name="anomaly")
    reply.outputs.add(name="score", datatype="FP64", shape=[len(score)])
    reply.raw_output_contents.append(score.tobytes())
    return reply


server = grpc.server(futures.ThreadPoolExecutor(4))
method = grpc.unary_unary_rpc_method_handler(infer, pb.ModelInferRequest.FromString, pb.ModelInferResponse.SerializeToString)
server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("inference.GRPCInferenceService", {"ModelInfer": method})])
server.add_insecure_port("127.0.0.1:" + sys.argv[1])
server.start()
server.wait_for_termination()
