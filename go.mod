module github.com/longline/longline

go 1.26.0
