package mqtt

var (
	inAcks       = in(Puback, Pubrec) // the acknowledgements that may refuse a publication
	inDisconnect = in(Disconnect)
	inSuback     = in(Suback)
	inAuth       = in(Auth)
	nowhere      places
)

// reasons is table 2-6 of §2.4, with the senders of tables 3-1 to 3-13: the packets in which a server
// and a client may send each code.
var reasons = [256]reason{
	Success: {"success",
		in(Connack, Puback, Pubrec, Pubrel, Pubcomp, Suback, Unsuback, Disconnect, Auth),
		in(Puback, Pubrec, Pubrel, Pubcomp, Disconnect)},
	GrantedQoS1:                       {"granted QoS 1", inSuback, nowhere},
	GrantedQoS2:                       {"granted QoS 2", inSuback, nowhere},
	DisconnectWithWill:                {"disconnect with will message", nowhere, inDisconnect},
	NoMatchingSubscribers:             {"no matching subscribers", inAcks, inAcks}, // §3.4.2.1 forbids it for a client; Mosquitto's bridge sends it, and it is a success
	NoSubscriptionExisted:             {"no subscription existed", in(Unsuback), nowhere},
	ContinueAuthentication:            {"continue authentication", inAuth, inAuth},
	ReAuthenticate:                    {"re-authenticate", nowhere, inAuth},
	UnspecifiedError:                  {"unspecified error", inAcks | in(Connack, Suback, Unsuback, Disconnect), inAcks | inDisconnect},
	MalformedPacket:                   {"malformed packet", inConnack | inDisconnect, inDisconnect},
	ProtocolError:                     {"protocol error", inConnack | inDisconnect, inDisconnect},
	ImplementationSpecificError:       {"implementation specific error", inAcks | in(Connack, Suback, Unsuback, Disconnect), inAcks | inDisconnect},
	UnsupportedProtocolVersion:        {"unsupported protocol version", inConnack, nowhere},
	ClientIDNotValid:                  {"client identifier not valid", inConnack, nowhere},
	BadUsernameOrPassword:             {"bad user name or password", inConnack, nowhere},
	NotAuthorized:                     {"not authorized", inAcks | in(Connack, Suback, Unsuback, Disconnect), inAcks},
	ServerUnavailable:                 {"server unavailable", inConnack, nowhere},
	ServerBusy:                        {"server busy", inConnack | inDisconnect, nowhere},
	Banned:                            {"banned", inConnack, nowhere},
	ServerShuttingDown:                {"server shutting down", inDisconnect, nowhere},
	BadAuthenticationMethod:           {"bad authentication method", inConnack | inDisconnect, nowhere},
	KeepAliveTimeout:                  {"keep alive timeout", inDisconnect, nowhere},
	SessionTakenOver:                  {"session taken over", inDisconnect, nowhere},
	TopicFilterInvalid:                {"topic filter invalid", in(Suback, Unsuback, Disconnect), nowhere},
	TopicNameInvalid:                  {"topic name invalid", inAcks | inConnack | inDisconnect, inAcks | inDisconnect},
	PacketIDInUse:                     {"packet identifier in use", inAcks | in(Suback, Unsuback), inAcks},
	PacketIDNotFound:                  {"packet identifier not found", in(Pubrel, Pubcomp), in(Pubrel, Pubcomp)},
	ReceiveMaximumExceeded:            {"receive maximum exceeded", inDisconnect, inDisconnect},
	TopicAliasInvalid:                 {"topic alias invalid", inDisconnect, inDisconnect},
	PacketTooLarge:                    {"packet too large", inConnack | inDisconnect, inDisconnect},
	MessageRateTooHigh:                {"message rate too high", inDisconnect, inDisconnect},
	QuotaExceeded:                     {"quota exceeded", inAcks | in(Connack, Suback, Disconnect), inAcks | inDisconnect},
	AdministrativeAction:              {"administrative action", inDisconnect, inDisconnect},
	PayloadFormatInvalid:              {"payload format invalid", inAcks | inConnack | inDisconnect, inAcks | inDisconnect},
	RetainNotSupported:                {"retain not supported", inConnack | inDisconnect, nowhere},
	QoSNotSupported:                   {"QoS not supported", inConnack | inDisconnect, nowhere},
	UseAnotherServer:                  {"use another server", inConnack | inDisconnect, nowhere},
	ServerMoved:                       {"server moved", inConnack | inDisconnect, nowhere},
	SharedSubscriptionsNotSupported:   {"shared subscriptions not supported", inSuback | inDisconnect, nowhere},
	ConnectionRateExceeded:            {"connection rate exceeded", inConnack | inDisconnect, nowhere},
	MaximumConnectTime:                {"maximum connect time", inDisconnect, nowhere},
	SubscriptionIDsNotSupported:       {"subscription identifiers not supported", inSuback | inDisconnect, nowhere},
	WildcardSubscriptionsNotSupported: {"wildcard subscriptions not supported", inSuback | inDisconnect, nowhere},
}

// codeRules has the rule that a code breaks that is not legal in a packet of the type.
var codeRules = [16]*Error{
	Connack:    ErrConnackCode,
	Puback:     ErrPubackCode,
	Pubrec:     ErrPubrecCode,
	Pubrel:     ErrPubrelCode,
	Pubcomp:    ErrPubcompCode,
	Suback:     ErrSubackCode,
	Unsuback:   ErrUnsubackCode,
	Disconnect: ErrDisconnectCode,
	Auth:       ErrAuthCode,
}
