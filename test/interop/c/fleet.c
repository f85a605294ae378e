/* A device in C with libmosquitto, in MQTT 3.1.1, for the test of a mixed fleet. It does and prints what node/fleet.js does.
 *
 *     fleet HOST PORT ID
 */
#include <mosquitto.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char *device;
static int granted;  /* the subscription */
static int current;  /* the call that is not answered yet, 0 for none */
static const char *const services[] = {"csms", "billing"}, *const methods[] = {"count", "count", "add", "add"};

static void fail(const char *what, int code)
{
	fprintf(stderr, "%s: %s\n", what, mosquitto_strerror(code));
	exit(1);
}

static void publish(struct mosquitto *m, const char *topic, const char *text)
{
	int code = mosquitto_publish(m, NULL, topic, (int)strlen(text), text, 1, false);
	if (code != MOSQ_ERR_SUCCESS)
		fail(topic, code);
}

static void on_subscribe(struct mosquitto *m, void *data, int id, int count, const int *qos)
{
	granted = 1;
}

/* called answers a call of a backend. */
static void called(struct mosquitto *m, const char *number, const char *payload)
{
	char topic[512], text[512];
	int n = 0;
	sscanf(payload, "{\"n\":%d", &n);
	printf("{\"called\":%d}\n", n);
	snprintf(topic, sizeof topic, "device/%s/reply/%s", device, number);
	snprintf(text, sizeof text, "{\"device\":\"%s\",\"n\":%d}", device, n);
	publish(m, topic, text);
}

/* ended prints how a call of the device has ended. number is N or N/error. */
static void ended(const char *number, const char *payload)
{
	char *rest;
	int n = (int)strtol(number, &rest, 10);
	if (n != current) {
		printf("{\"stray\":\"%s\"}\n", number);
		return;
	}
	printf("{\"n\":%d,\"service\":\"%s\",\"method\":\"%s\",", n, services[n % 2], methods[n % 4]);
	if (*rest)
		printf("\"error\":\"%.*s\"}\n", (int)strcspn(payload, ":"), payload);
	else
		printf("\"answer\":%s}\n", payload);
	current = 0;
}

static void on_message(struct mosquitto *m, void *data, const struct mosquitto_message *message)
{
	char number[128], text[1024], prefix[256];
	snprintf(text, sizeof text, "%.*s", message->payloadlen, (const char *)message->payload);
	snprintf(prefix, sizeof prefix, "device/%s/", device);
	const char *rest = message->topic + strlen(prefix);
	if (sscanf(rest, "call/count/%127s", number) == 1)
		called(m, number, text);
	else if (sscanf(rest, "service-reply/%127s", number) == 1)
		ended(number, text);
}

/* leaves reports whether the input has ended. */
static int leaves(void)
{
	struct pollfd in = {.fd = 0, .events = POLLIN};
	return poll(&in, 1, 0) > 0;
}

int main(int argc, char **argv)
{
	char filter[256];
	int code;
	if (argc != 4)
		return 2;
	device = argv[3];
	setvbuf(stdout, NULL, _IOLBF, 0);
	mosquitto_lib_init();
	struct mosquitto *m = mosquitto_new(device, true, NULL);
	if (!m)
		return 1;
	mosquitto_subscribe_callback_set(m, on_subscribe);
	mosquitto_message_callback_set(m, on_message);
	if ((code = mosquitto_connect(m, argv[1], atoi(argv[2]), 60)))
		fail("connect", code);
	snprintf(filter, sizeof filter, "device/%s/service-reply/#", device);
	if ((code = mosquitto_subscribe(m, NULL, filter, 0)))
		fail(filter, code);
	snprintf(filter, sizeof filter, "device/%s/call/#", device);
	if ((code = mosquitto_subscribe(m, NULL, filter, 0)))
		fail(filter, code);
	for (int n = 1; current || !leaves();) {
		if (granted && !current) {
			char topic[256], text[64];
			struct timespec pause = {.tv_nsec = 20 * 1000 * 1000};
			nanosleep(&pause, NULL);
			current = n;
			snprintf(topic, sizeof topic, "device/%s/service/%s/%s/%d", device, services[n % 2], methods[n % 4], n);
			snprintf(text, sizeof text, "{\"n\":%d}", n++);
			publish(m, topic, text);
		}
		if ((code = mosquitto_loop(m, 20, 1)))
			fail("loop", code);
	}
	mosquitto_disconnect(m);
	while (mosquitto_loop(m, 20, 1) == MOSQ_ERR_SUCCESS)
		;
	mosquitto_destroy(m);
	mosquitto_lib_cleanup();
	return 0;
}
